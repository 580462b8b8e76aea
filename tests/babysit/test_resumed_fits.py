"""Fits that stop and go on from a checkpoint: the same interventions as in one go, whatever the metric and the schedule."""

from __future__ import annotations

import copy
import itertools
import json
import math

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import lr_scheduler as schedulers

from lightning_hp import Babysitter
from lightning_hp.babysit import log, logbook
from lightning_hp.babysit.log import FILE

EPOCHS = 12
# Epochs after which fits stop, some twice: around the interventions in SCRIPT, and all the rest.
SOME = ((1, 5), (3, 8))
OTHERS = tuple((epoch,) for epoch in range(1, EPOCHS) if epoch not in itertools.chain(*SOME))
SCRIPT = [1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]


def with_schedule(scripted, schedule):
    class Scheduled(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return {"optimizer": optimizer, "lr_scheduler": schedule(optimizer)}

    return Scheduled


def with_training_metric(scripted, in_training_step):
    class Training(scripted):
        def training_step(self, batch, batch_idx):
            if in_training_step:
                self.log("trained", SCRIPT[self.current_epoch], on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self):
            if not in_training_step:
                self.log("trained", SCRIPT[self.current_epoch])

    return Training


KINDS = {
    "no schedule": ("score", lambda scripted: scripted),
    "cosine": ("score", lambda scripted: with_schedule(scripted, lambda o: schedulers.CosineAnnealingLR(o, 20, 0.01))),
    "lambda": ("score", lambda scripted: with_schedule(scripted, lambda o: schedulers.LambdaLR(o, lambda at: 1 / (1 + at)))),
    "one cycle": (
        "score",
        lambda scripted: with_schedule(
            scripted, lambda o: {"scheduler": schedulers.OneCycleLR(o, 0.4, total_steps=36), "interval": "step"}
        ),
    ),
    "reduce on plateau, quicker": (
        "score",
        lambda scripted: with_schedule(
            scripted,
            lambda o: {"scheduler": schedulers.ReduceLROnPlateau(o, factor=0.5, patience=0, cooldown=1), "monitor": "score"},
        ),
    ),
    "reduce on plateau, as quick": (
        "score",
        lambda scripted: with_schedule(
            scripted,
            lambda o: {"scheduler": schedulers.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=1), "monitor": "score"},
        ),
    ),
    "reduce on plateau, slower": (
        "score",
        lambda scripted: with_schedule(
            scripted, lambda o: {"scheduler": schedulers.ReduceLROnPlateau(o, factor=0.5, patience=3), "monitor": "score"}
        ),
    ),
    "training metric": ("trained", lambda scripted: with_training_metric(scripted, True)),
    "training metric at the epoch's end": ("trained", lambda scripted: with_training_metric(scripted, False)),
}


def babysitter(monitor):
    return Babysitter(monitor, patience=1, cooldown=1)


@pytest.mark.parametrize("stops", [SOME, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["some", "others"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_that_goes_on_is_babysat_as_one_in_one_go(fit, scripted, interventions, tmp_path, kind, stops):
    monitor, make = KINDS[kind][0], KINDS[kind][1](scripted)
    whole = make(SCRIPT)
    expected = interventions(fit(whole, babysitter(monitor), epochs=EPOCHS, version="whole"))
    for ends in stops:
        folder, checkpoint = f"stopped{ends[0]}", None
        parts = [make(SCRIPT) for _ in (*ends, EPOCHS)]
        for part, end in zip(parts, (*ends, EPOCHS), strict=True):
            trainer = fit(part, babysitter(monitor), epochs=end, version=folder, ckpt_path=checkpoint)
            checkpoint = tmp_path / folder / "last.ckpt"
            trainer.save_checkpoint(checkpoint)
            torch.load(checkpoint, weights_only=True)
        assert interventions(trainer) == expected
        assert [lr for part in parts for lr in part.lrs] == pytest.approx(whole.lrs)
        assert [momentum for part in parts for momentum in part.momenta] == pytest.approx(whole.momenta)


@pytest.mark.parametrize("stops", [SOME, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["some", "others"])
@pytest.mark.parametrize("kind", ["no schedule", "training metric", "training metric at the epoch's end"])
def test_a_fit_that_goes_on_from_the_checkpoint_of_an_epochs_end_does_too(fit, scripted, interventions, tmp_path, kind, stops):
    monitor, make = KINDS[kind][0], KINDS[kind][1](scripted)
    saved = ModelCheckpoint(tmp_path / "checkpoints", filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    whole = fit(make(SCRIPT), babysitter(monitor), saved, epochs=EPOCHS, version="whole", enable_checkpointing=True)
    expected = interventions(whole)
    assert len(expected) >= 2
    for epoch in (end - 1 for end in itertools.chain(*stops)):
        checkpoint = tmp_path / f"checkpoints/epoch={epoch}.ckpt"
        resumed = fit(make(SCRIPT), babysitter(monitor), epochs=EPOCHS, version=f"from{epoch}", ckpt_path=checkpoint)
        assert interventions(resumed) == [each for each in expected if each.epoch > epoch]


def kill_at(step, file):
    """A callback that ends a fit before it takes that optimizer step, as a signal would, and keeps what a file held then."""

    class Killer(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            if trainer.global_step == step:
                self.left = file.read_text()
                raise ConnectionError("killed")

    return Killer()


@pytest.mark.parametrize(
    ("every", "killed_at", "interval"),
    [
        ({"every_n_epochs": 3, "save_on_train_epoch_end": True}, range(7, 24), 0.0),
        # In the middle of epoch 2 and of epoch 7.
        ({"every_n_train_steps": 5}, [6, 9, 16, 19], 0.0),
        # What is not written by then is lost.
        ({"every_n_epochs": 3, "save_on_train_epoch_end": True}, [8, 17, 22], math.inf),
        ({"every_n_train_steps": 5}, [9, 19], math.inf),
    ],
)
def test_a_fit_killed_after_its_last_checkpoint_and_resumed_leaves_the_log_of_an_uninterrupted_one(
    fit, scripted, tmp_path, monkeypatch, every, killed_at, interval
):
    monkeypatch.setattr(logbook, "INTERVAL", interval)

    def run(version, *callbacks, **arguments):
        saved = ModelCheckpoint(tmp_path / version, filename="last", enable_version_counter=False, **every)
        arguments = {"accumulate_grad_batches": 2, "limit_train_batches": 4, "enable_checkpointing": True, **arguments}
        fit(scripted(SCRIPT), babysitter("score"), saved, *callbacks, epochs=EPOCHS, version=version, **arguments)
        # Lightning gives a fit that goes on its batches in another order, and so other losses.
        lines = [json.loads(line) for line in (tmp_path / version / FILE).read_text().splitlines()]
        return [line | {"detail": line["detail"] | {"losses": None}} for line in lines]

    whole = run("whole")
    assert len(log.interventions(tmp_path / "whole" / FILE)) == 3
    for step in killed_at:
        version = f"killed{step}"
        killer = kill_at(step, tmp_path / version / FILE)
        with pytest.raises(ConnectionError):
            run(version, killer)
        (tmp_path / version / FILE).write_text(killer.left + '{"epoch": 3, "st')
        assert run(version, ckpt_path=tmp_path / version / "last.ckpt") == whole


@pytest.mark.parametrize("epochs", [4, 7])
def test_a_fresh_fit_starts_a_new_log_and_one_that_goes_on_keeps_what_came_before(fit, scripted, tmp_path, epochs):
    file = tmp_path / "run" / FILE
    trainer = fit(scripted(), Babysitter("score", patience=1), epochs=epochs)
    # The last line says how the fit stood at its end, which was none.
    *kept, end = file.read_text().splitlines()
    assert (json.loads(end)["event"], json.loads(end)["step"]) == ("state", 3 * epochs)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    fit(scripted(), Babysitter("score", patience=1), epochs=9, ckpt_path=tmp_path / "last.ckpt")
    assert file.read_text().splitlines()[: len(kept)] == kept
    assert len(log.interventions(file)) == 3
    fit(scripted(), Babysitter("score", patience=5), epochs=2)
    assert [record.step for record in log.read(file) if record.event == "state"] == [3, 6]
    assert log.interventions(file) == []


def test_an_intervention_amid_accumulated_gradients_is_neither_lost_nor_written_twice(fit, scripted, interventions, tmp_path):
    class SavesAfterFirstBatch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.current_epoch == 3 and batch_idx == 0:
                trainer.save_checkpoint(tmp_path / "mid.ckpt")

    arguments = {"epochs": 6, "limit_train_batches": 4, "accumulate_grad_batches": 2}
    expected = interventions(fit(scripted(), Babysitter("score", patience=1), SavesAfterFirstBatch(), **arguments))
    assert [each.step for each in expected] == [6, 10]
    resumed = fit(scripted(), Babysitter("score", patience=1), ckpt_path=tmp_path / "mid.ckpt", **arguments)
    assert interventions(resumed) == expected


@pytest.mark.parametrize("hook", ["on_validation_epoch_end", "on_validation_end"])
def test_a_checkpoint_of_a_callback_before_it_holds_the_check_just_made(fit, interventions, scripted, tmp_path, hook):
    def save(self, trainer, pl_module):
        if not trainer.sanity_checking:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    class ValScore(scripted):
        def validation_step(self, batch, batch_idx):
            self.log("val_score", SCRIPT[self.current_epoch])

    saver = type("Saver", (Callback,), {hook: save})()
    callbacks = (saver, babysitter("val_score")) if hook == "on_validation_end" else (babysitter("val_score"), saver)
    expected = interventions(fit(ValScore(), *callbacks, epochs=EPOCHS))
    assert len(expected) == 3
    for epoch in range(EPOCHS - 1):
        checkpoint = tmp_path / f"{epoch}.ckpt"
        resumed = fit(ValScore(), babysitter("val_score"), epochs=EPOCHS, version=f"from{epoch}", ckpt_path=checkpoint)
        assert interventions(resumed) == [each for each in expected if each.epoch > epoch]


def test_a_callback_used_for_a_second_fit_starts_afresh(fit, scripted, interventions):
    babysitter = Babysitter("score", patience=3)
    module = scripted()
    again = copy.deepcopy(module)
    first = fit(module, babysitter, epochs=6)
    state = babysitter.care.control.state_dict()
    second = fit(again, babysitter, epochs=6, version="second")
    assert interventions(first) == interventions(second) != []
    assert babysitter.care.control.state_dict() == state
    second.fit_loop.max_epochs = 12
    second.fit(second.lightning_module, datamodule=second.datamodule)
    assert [each.epoch for each in interventions(second)] == [5, 11]


def test_state_goes_through_a_checkpoint_whole(fit, scripted, tmp_path):
    original = Babysitter("score", patience=2, cooldown=3)
    trainer = fit(scripted(), original, epochs=5)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    states = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    loaded = Babysitter("score", patience=2, cooldown=3)
    loaded.load_state_dict(states[original.state_key])
    assert loaded.care.control.state_dict() == original.care.control.state_dict()
    assert loaded.interventions == original.interventions == 1
    assert loaded.care.control.state_dict()["signals"][0]["cooldown_left"] == 2


def test_babysitters_of_other_metrics_or_modes_keep_apart_in_a_checkpoint(fit, scripted, tmp_path):
    babysitters = [Babysitter("score"), Babysitter("val_loss"), Babysitter("val_acc", mode="max"), Babysitter("val_acc")]
    trainer = fit(scripted(), *babysitters, epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    states = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    assert {each.state_key for each in babysitters} <= set(states)
    bests = [states[each.state_key]["control"]["signals"][0]["best"] for each in babysitters]
    assert all(a != b for a, b in itertools.combinations(bests[:3], 2))


def test_a_checkpoint_without_a_babysitter_starts_one_afresh(fit, scripted, interventions, tmp_path):
    fit(scripted(), epochs=3).save_checkpoint(tmp_path / "last.ckpt")
    resumed = fit(scripted(), Babysitter("score", patience=1), epochs=7, version="on", ckpt_path=tmp_path / "last.ckpt")
    assert [(each.epoch, each.step) for each in interventions(resumed)] == [(6, 18)]
