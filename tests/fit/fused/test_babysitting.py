"""Babysitters in a fused fit: each trial goes back, skips and stops for itself, as it does alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from lightning_hp import Babysitter
from lightning_hp.babysit import log
from lightning_hp.babysit.actions import Adjust, Move, Rollback, Skip, Snapshot, Stop
from lightning_hp.babysit.policies import Decision
from lightning_hp.trial import trial_folder
from tests.fit.fused.digits import Classifier, assert_alike, trained
from tests.fit.fused.test_float16 import float16

LOWER = Adjust((Move(0.5, 0.5),))
# What is done at each check, of trials whose momentum is above a bound, and of the others.
ABOVE = ([Snapshot("a")], [LOWER], [Rollback("a"), LOWER], [Skip(3)], [Rollback("a", keep_moves=False)], [], [])
BELOW = ([], [Snapshot("b"), LOWER], [Skip(2)], [Rollback("b", keep_moves=False)], [Stop()], [], [])
BOUND = 0.9


@dataclass(frozen=True)
class Script:
    """A policy that does what is written, whatever it sees."""

    def signals(self, plateau):
        return []

    def begin(self):
        return {"script": None}

    def decide(self, state, look):
        if state["script"] is None:
            return {"script": "above" if (look.knobs[0].momentum or 0.0) > BOUND else "below"}, Decision(
                [Snapshot("start")], "begins"
            )
        actions = (ABOVE if state["script"] == "above" else BELOW)[look.checks - 1]
        return state, Decision(actions, "as written") if actions else None


class WithoutRule(Classifier):
    def configure_optimizers(self):
        return torch.optim.Rprop(self.parameters(), self.lr / 10)


class Normed(Classifier):
    def make(self):
        return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


KINDS = {
    "sgd": (Classifier, "sgd", {}),
    "adamw, whose rows then count different steps": (Classifier, "adamw", {}),
    "running averages": (Normed, "sgd", {}),
    "an optimizer without a rule": (WithoutRule, "", {}),
    "accumulation": (Classifier, "sgd", {"accumulate_grad_batches": 2}),
    "clipping": (Classifier, "adamw", {"gradient_clip_val": 0.3}),
    "loss scales": (Classifier, "sgd", {"plugins": [float16]}),
}


def moves(root, number):
    """What was done to a trial, before which batches."""
    return [(each.event, each.batch, each.actions) for each in log.read(trial_folder(root, number) / log.FILE) if each.actions]


@pytest.mark.parametrize("name", KINDS)
def test_each_trial_is_babysat_as_it_is_by_itself(name, tmp_path, monkeypatch):
    kind, optimizer, trainer = KINDS[name]
    monkeypatch.setattr(Classifier, "optimizer", optimizer)
    settings = {"babysitter": Babysitter("val_loss", policy=Script()), "trainer": {"max_epochs": 7, **trainer}}
    fused = trained(kind, tmp_path / "fused", True, trials=4, **settings)
    alone = trained(kind, tmp_path / "alone", False, trials=4, **settings)
    assert {alone[number].epochs for number in alone} == ({6} if kind is WithoutRule else {6, 7})
    for number in alone:
        assert_alike(fused[number], alone[number])
        assert moves(tmp_path / "fused", number) == moves(tmp_path / "alone", number)


@pytest.mark.parametrize("trainer", [{}, {"val_check_interval": 0.5}], ids=["", "checks amid epochs"])
def test_a_trial_that_diverges_goes_back_alone(tmp_path, trainer):
    class Diverging(Classifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * self.blow_up

        def on_train_batch_start(self, batch, batch_idx):
            explodes = self.trainer.fit_loop.epoch_loop.total_batch_idx == 10 and self.hparams.momentum > BOUND
            self.blow_up = float("inf") if explodes else 1.0

    settings = {"babysitter": Babysitter("val_loss"), "trainer": {"max_epochs": 5, **trainer}}
    fused = trained(Diverging, tmp_path / "fused", True, trials=4, **settings)
    alone = trained(Diverging, tmp_path / "alone", False, trials=4, **settings)
    gone_back = 0
    for number in alone:
        assert alone[number].state == "complete"
        assert_alike(fused[number], alone[number])
        assert moves(tmp_path / "fused", number) == moves(tmp_path / "alone", number)
        gone_back += any(isinstance(action, Rollback) for _, _, done in moves(tmp_path / "fused", number) for action in done)
    assert 0 < gone_back < 4
