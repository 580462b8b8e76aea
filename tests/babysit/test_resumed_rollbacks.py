"""Fits that are interrupted about a rollback or within a probe, and go on: to the last bit as if nothing had been."""

from __future__ import annotations

import json

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule

from examples.digits import DigitsData
from lightning_hp import Babysitter
from lightning_hp.babysit import log

EPOCHS, BATCHES = 8, 12


class InOrder(LightningDataModule):
    """Digits in the same order in each epoch, from the first on wherever an epoch begins."""

    def setup(self, stage):
        self.digits = DigitsData(32)
        self.digits.setup(stage)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.digits.train, batch_size=32)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(self.digits.val, batch_size=512)


class Saves(Callback):
    """Saves at the end of each epoch, after all others but checkpoints."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")


def exploding(scripted):
    class Exploding(scripted):
        """Real losses, which explode in some epochs' middles and at the end of another."""

        def training_step(self, batch, batch_idx):
            at = self.trainer.fit_loop.epoch_loop.total_batch_idx
            bad = at in (2 * BATCHES + 3, 5 * BATCHES - 1, 5 * BATCHES + 4)
            return super().training_step(batch, batch_idx) * (float("nan") if bad else 1.0)

    return Exploding


def written(folder):
    """The log by lines; Lightning counts the epoch that has ended for the one that begins, where it saves."""
    return [json.loads(line) for line in (folder / log.FILE).read_text().splitlines()]


KINDS = {
    "reduce": lambda: Babysitter("val_loss", patience=1),
    "probe": lambda: Babysitter("val_loss", policy="probe"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_wherever_it_was_interrupted_a_fit_makes_the_same_moves_and_ends_at_the_same_weights(fit, scripted, tmp_path, kind):
    def run(version, *callbacks, **arguments):
        module = exploding(scripted)(lr=0.02)
        arguments = {"epochs": EPOCHS, "limit_train_batches": BATCHES, "data": InOrder(), "version": version} | arguments
        fit(module, KINDS[kind](), *callbacks, **arguments)
        return module

    whole = run("whole", Saves(tmp_path))
    expected = written(tmp_path / "whole")
    made = log.interventions(tmp_path / "whole" / log.FILE)
    assert {"Rollback", "Adjust"} <= {type(action).__name__ for record in made for action in record.actions}
    for epoch in range(EPOCHS - 1):
        resumed = run(f"from{epoch}", Saves(tmp_path / "others"), ckpt_path=tmp_path / f"{epoch}.ckpt")
        assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))
        assert written(tmp_path / f"from{epoch}") == [line for line in expected if line["batch"] >= (epoch + 1) * BATCHES]
