"""A fit of two processes that a person steers, as a script: Lightning starts the second process by running it again.

    python tests/babysit/two_steered.py FOLDER

Each process writes the lr of every step and its last weights to FOLDER/rank0.json or rank1.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger

from examples.digits import DigitsData, LitDigits
from lightning_hp import Babysitter
from lightning_hp.babysit.nudge import send
from lightning_hp.babysit.request import Change, Request

ASKED = {
    4: [Request("nudge", lr=Change(0.5, factor=True))],
    8: [Request("pause"), Request("nudge", momentum=Change(0.95)), Request("resume")],
    13: [Request("stop", at="epoch")],
}


class Person(Callback):
    """Asks on rank 0, and writes down what each process trains with."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.is_global_zero:
            for request in ASKED.get(trainer.global_step, []):
                # Not trainer.log_dir, for which Lightning asks all processes.
                send(Path(trainer.default_root_dir) / "run", request)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        group = trainer.optimizers[0].param_groups[0]
        self.seen.append((group["lr"], group["momentum"]))

    def on_train_end(self, trainer, pl_module) -> None:
        told = {"seen": self.seen, "weights": [float(weight.detach().sum()) for weight in pl_module.parameters()]}
        (Path(trainer.default_root_dir) / f"rank{trainer.global_rank}.json").write_text(json.dumps(told))


def main(folder: str) -> None:
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=10,
        limit_train_batches=3,
        default_root_dir=folder,
        logger=TensorBoardLogger(folder, name="", version="run"),
        callbacks=[Person(), Babysitter("val_loss", patience=100)],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(LitDigits(hidden=8, layers=1), datamodule=DigitsData(128))


if __name__ == "__main__":
    main(*sys.argv[1:])
