"""Steps that are recorded and replayed end as those that are run each time.

On a CPU there is nothing to record. Here a tape stands in; tests/fit/fused/test_gpu.py has the real graphs.
"""

from __future__ import annotations

import gc
import random
import time

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import Accuracy

from lightning_hp.fit.fused.graphs import StepGraphs
from tests.fit.fused.digits import SPACE, Classifier, assert_the_same_alone, trained
from tests.fit.fused.tape import Tape, record_on_tape


@pytest.fixture
def made(monkeypatch):
    """The graphs of the fit, by the steps' names; each has been replayed so many times."""
    found, tapes = Found(), []
    begin = StepGraphs.__init__

    class Counted(Tape):
        def __init__(self, shared=None):
            super().__init__(shared)
            tapes.append(self)

    def noted(self, step, name):
        begin(self, step, name)
        found.append(self)

    monkeypatch.setattr(StepGraphs, "__init__", noted)
    record_on_tape(monkeypatch, Counted)
    found.tapes = tapes
    return found


class Found(list):
    """Of a fit: its `StepGraphs`, and all graphs."""


def of(made, name):
    return [each for each in made if each.name == name]


def updates(made):
    """How often updates of the parameters were replayed."""
    return sum(each.replays for each in made.tapes) - replays(made) - replays(made, "validation_step")


def replays(made, name="training_step"):
    return sum(each._replays for each in of(made, name))


class Normalized(Classifier):
    optimizer = "adamw"

    def make(self):
        return nn.Sequential(nn.Linear(64, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


class Measured(Classifier):
    def __init__(self, **hparams):
        super().__init__(**hparams)
        self.accuracy = Accuracy("multiclass", num_classes=10)

    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.accuracy(logits, batch[1])
        self.log_dict({"train_loss": loss, "train_acc": self.accuracy}, on_step=False, on_epoch=True)
        self.log("largest", loss, reduce_fx="max", on_step=False, on_epoch=True)
        return {"loss": loss, "logits": logits}


class Scheduled(Classifier):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), "interval": "step"}]


@pytest.mark.parametrize("kind", [Classifier, Normalized, Measured, Scheduled])
@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 3}, {"gradient_clip_val": 0.5}], ids=str)
def test_replayed_trials_end_as_each_by_itself(kind, settings, made, tmp_path):
    assert_the_same_alone(kind, tmp_path, trainer={"max_epochs": 4, **settings})
    assert {each.obstacle for each in made} == {None}
    # Of an epoch's 7 batches, 6 are alike; they are known from the timing, which replays twice, and the last one from once.
    assert replays(made) == 2 + 4 * 7 - 1
    assert replays(made, "validation_step") > 0


def test_half_precision_is_replayed_with_each_trials_scale(made, tmp_path):
    outcomes = trained(Classifier, tmp_path, True, trainer={"precision": "bf16-mixed", "max_epochs": 3})
    assert all(outcome.state == "complete" for outcome in outcomes.values())
    assert replays(made) > 0


def test_numbers_of_each_trials_own_are_replayed(made, tmp_path):
    class Weighted(Classifier):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * self.hparams.weight

    assert_the_same_alone(Weighted, tmp_path, space={**SPACE, "weight": SPACE["lr"]}, trainer={"max_epochs": 3})
    assert replays(made) > 0


def test_what_a_hook_changes_is_recorded_anew(made, tmp_path):
    class Changing(Classifier):
        factor = 1.0

        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                self.factor = 3.0
                self.net[0].requires_grad_(False)

        def training_step(self, batch, batch_idx):
            return self.factor * super().training_step(batch, batch_idx)

    assert_the_same_alone(Changing, tmp_path, trainer={"max_epochs": 4})
    assert replays(made) > 0


def test_trials_may_have_schedules_of_other_kinds(tmp_path):
    class Each(Classifier):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            # Some put numbers of their own beside the optimizer's.
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)] if self.lr > 0.01 else []

    assert_the_same_alone(Each, tmp_path, trainer={"max_epochs": 2})


def test_trials_that_leave_are_not_replayed(made, tmp_path):
    class Failing(Classifier):
        def on_train_epoch_end(self):
            if self.current_epoch == 1 and self.lr > 0.01:
                raise RuntimeError("enough")

    outcomes = trained(Failing, tmp_path / "together", True, trials=6, trainer={"max_epochs": 4})
    alone = trained(Failing, tmp_path / "alone", False, trials=6, trainer={"max_epochs": 4})
    assert {outcome.state for outcome in outcomes.values()} == {"failed", "complete"}
    for number, outcome in alone.items():
        assert outcomes[number].state == outcome.state
        assert outcomes[number].metrics["val_loss"] == pytest.approx(outcome.metrics["val_loss"], rel=1e-3)
    assert replays(made) > 0


class Numbered(Classifier):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1.0 if batch_idx else 2.0)


class Annealed(Classifier):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + self.current_epoch)


class Drawing(Classifier):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * np.random.uniform(0.5, 1.5)


class DrawingInPython(Classifier):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * random.uniform(0.5, 1.5)


class DrawingOfItsOwn(Classifier):
    def __init__(self, **hparams):
        super().__init__(**hparams)
        self.rng = np.random.default_rng(0)

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * float(self.rng.uniform(0.5, 1.5))


class NumberedInTorch(Classifier):
    def training_step(self, batch, batch_idx):
        return torch.mul(super().training_step(batch, batch_idx), batch_idx)


class Asking(Classifier):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1.0 if self.trainer.sanity_checking else 2.0)


class Printing(Classifier):
    def training_step(self, batch, batch_idx):
        print("a step")
        return super().training_step(batch, batch_idx)


class Timed(Classifier):
    def training_step(self, batch, batch_idx):
        self.log("time", time.perf_counter())
        return super().training_step(batch, batch_idx)


class Keeping(Classifier):
    def __init__(self, **hparams):
        super().__init__(**hparams)
        self.kept = []

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.kept.append(loss.detach())
        return loss

    def on_train_epoch_end(self):
        self.kept.clear()


OBSTACLES = {
    Numbered: "it reads batch_idx",
    Annealed: "it reads trainer.current_epoch",
    Drawing: "it draws random numbers on the host",
    DrawingInPython: "it draws random numbers on the host",
    DrawingOfItsOwn: "it gives something else each time",
    NumberedInTorch: "it reads batch_idx",
    Asking: "it reads trainer.sanity_checking",
    Printing: "it calls print",
    Timed: "it calls perf_counter",
    Keeping: "it adds to lists",
}


@pytest.mark.parametrize("kind", OBSTACLES)
def test_steps_that_do_more_than_compute_are_run_each_time(kind, made, tmp_path):
    outcomes = trained(kind, tmp_path, True, trainer={"max_epochs": 2})
    assert all(outcome.state == "complete" for outcome in outcomes.values())
    (graphs,) = of(made, "training_step")
    assert graphs.obstacle == OBSTACLES[kind]
    assert replays(made) == 0


def test_steps_that_cannot_be_recorded_are_run_each_time(made, monkeypatch, tmp_path):
    class Refusing(Tape):
        def record(self, run):
            super().record(run)
            raise RuntimeError("operation not permitted when stream is capturing")

    record_on_tape(monkeypatch, Refusing)
    assert_the_same_alone(Measured, tmp_path, trainer={"max_epochs": 2})
    (graphs,) = of(made, "training_step")
    assert graphs.obstacle is not None
    assert "not permitted" in graphs.obstacle


def test_what_others_do_as_garbage_is_collected_is_not_the_steps_doing(made, tmp_path):
    threshold = gc.get_threshold()
    gc.callbacks.append(ticking := lambda phase, info: time.perf_counter())
    gc.set_threshold(1)
    try:
        trained(Classifier, tmp_path, True, trainer={"max_epochs": 1})
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(ticking)
    assert {each.obstacle for each in made} == {None}


def test_fits_that_are_profiled_are_recorded_as_well(made, tmp_path):
    outcomes = trained(Classifier, tmp_path, True, trainer={"max_epochs": 3, "profiler": "advanced"})
    assert all(outcome.state == "complete" for outcome in outcomes.values())
    assert replays(made) > 0
