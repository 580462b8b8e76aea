"""Fits that diverge: they go back and go on, and end as diverged when nothing helps; alone and in a search."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from examples.digits import DigitsData, LitDigits
from lightning_hp import Babysitter, Choice
from lightning_hp.babysit.actions import Rollback, Skip, Snapshot, Stop
from lightning_hp.babysit.policies import Decision
from lightning_hp.babysit.signals import NotFinite, Plateau


def exploding(kind, at, lr=0.05):
    """A module whose loss is NaN in the training batches of these numbers, while lr is above a bound."""

    class Exploding(kind):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            bad = self.trainer.fit_loop.epoch_loop.total_batch_idx in at
            return loss * float("nan") if bad and self.trainer.optimizers[0].param_groups[0]["lr"] > lr else loss

    return Exploding


def actions(record):
    return [type(action).__name__ for action in record.actions]


def test_a_loss_that_is_nan_takes_the_fit_back_to_its_best_check_and_lowers_lr(fit, scripted, interventions):
    module = exploding(scripted, [10])([1.0, 0.9, 0.8, 0.7, 0.6])
    trainer = fit(module, Babysitter("score"), epochs=5)
    (record,) = interventions(trainer)
    assert (record.epoch, record.step, record.batch, record.reason) == (4, 12, 12, "the loss is nan")
    assert actions(record) == ["Rollback", "Adjust"]
    assert record.after[0].lr == pytest.approx(0.2 * record.before[0].lr)
    assert all(weight.isfinite().all() for weight in module.state_dict().values())
    assert trainer.global_step == 15


def test_a_check_amid_an_epoch_knows_all_losses_before_it(fit, scripted, interventions):
    module = exploding(scripted, [5])([1.0, 0.9, 0.8, 0.7])
    trainer = fit(module, Babysitter("score"), epochs=1, limit_train_batches=20, val_check_interval=8)
    (record,) = interventions(trainer)
    # The weights of this check, its best metric or not, are none to go back to.
    assert (record.batch, record.reason, record.actions[0]) == (8, "the loss is nan", Rollback("start"))
    assert all(weight.isfinite().all() for weight in module.state_dict().values())


def test_losses_are_heard_some_at_a_time_and_at_the_latest_where_an_epoch_ends(fit, scripted, interventions):
    digits = {"data": DigitsData(64), "limit_train_batches": 20}
    for at, answered in ((3, 16), (15, 16), (16, 20)):
        trainer = fit(exploding(scripted, [at])(), Babysitter("score"), epochs=2, version=f"at {at}", **digits)
        (record,) = interventions(trainer)
        assert (record.batch, record.reason) == (answered, "the loss is nan")


def test_a_metric_that_is_nan_does_too(fit, scripted, interventions):
    module = scripted([1.0, 0.9, math.nan, 0.8, 0.8])
    (record,) = interventions(fit(module, Babysitter("score"), epochs=5))
    assert (record.epoch, record.reason) == (3, "score: the metric is nan")


def test_a_training_metric_of_an_epoch_that_was_gone_back_from_is_not_held_against_it(fit, interventions):
    module = exploding(LitDigits, [7])(lr=0.1)
    trainer = fit(module, Babysitter("train_loss"), data=DigitsData(64), limit_train_batches=20, epochs=3)
    assert [record.reason for record in interventions(trainer)] == ["the loss is nan"]


def test_a_fit_that_always_diverges_ends_as_diverged_when_its_interventions_are_used_up(fit, scripted, interventions):
    babysitter = Babysitter("score", max_interventions=3)
    trainer = fit(exploding(scripted, range(1000), lr=0.0)(), babysitter, epochs=50, min_epochs=50)
    assert [actions(record)[0] for record in interventions(trainer)] == ["Rollback", "Rollback", "Rollback", "Stop"]
    assert babysitter.diverged == "the loss is nan"
    assert trainer.current_epoch < 10


def test_a_divergence_in_the_last_epoch_that_nothing_answers_counts(fit, scripted):
    babysitter = Babysitter("score")
    fit(exploding(scripted, [8])(), babysitter, epochs=3)
    assert babysitter.diverged == "the loss is nan"


@dataclass(frozen=True)
class Own:
    """A policy that takes a snapshot at first, and then answers a finding with what it was given."""

    answer: tuple = ()

    def signals(self, plateau):
        return [NotFinite("loss")]

    def begin(self):
        return {"begun": False}

    def decide(self, state, look):
        if not state["begun"]:
            return {"begun": True}, Decision([Snapshot("mine")], "before the first step")
        return state, Decision(self.answer, "own") if look.findings and self.answer else None


def test_a_policy_and_signals_of_the_users_own_are_followed(fit, scripted, interventions):
    own = Own((Rollback("mine"), Skip(2)))
    babysitter = Babysitter("score", policy=own, signals=[NotFinite("loss"), NotFinite("loss")])
    trainer = fit(exploding(scripted, [4])(), babysitter, epochs=4)
    assert [actions(record) for record in interventions(trainer)] == [["Rollback", "Skip"]]
    assert Babysitter(**babysitter.describe()).describe() == babysitter.describe()


@pytest.fixture
def trial(search):
    """The only trial of a babysat search."""

    def run(kind, babysitter, *, monitor="val_loss", **settings):
        trainer = {"max_epochs": 6, "accelerator": "cpu", "limit_train_batches": 8, **settings.pop("trainer", {})}
        study = search(
            kind, space={"lr": Choice(0.1)}, monitor=monitor, mode="min", trials=1, babysit=babysitter, trainer=trainer
        )
        return study.run().trials[0]

    return run


def test_a_trial_that_goes_back_completes_and_keeps_its_best_checkpoint(trial):
    done = trial(exploding(LitDigits, [27]), True)
    assert (done.state, done.epochs) == ("complete", 6)
    losses = done.metrics["val_loss"]
    assert done.value == min(value for value in losses if not math.isnan(value))
    best = torch.load(done.checkpoint, weights_only=True)
    assert best["epoch"] == losses.index(done.value)
    assert all(weight.isfinite().all() for weight in best["state_dict"].values())


@pytest.mark.parametrize(
    "babysitter",
    [
        Babysitter(max_interventions=2),
        Babysitter(max_interventions=0),
        Babysitter(policy=Own()),
        Babysitter(policy=Own((Rollback("none"),))),
    ],
    ids=["used up", "none", "a policy that does nothing", "a snapshot that was never taken"],
)
def test_a_trial_that_nothing_helps_is_diverged(trial, babysitter):
    done = trial(exploding(LitDigits, range(1000), lr=0.0), babysitter)
    assert (done.state, done.value) == ("diverged", None)
    assert "loss is nan" in done.reason or "val_loss" in done.reason
    assert done.epochs <= 4


def test_a_policy_that_stops_the_fit_leaves_a_trial_complete(trial):
    stopping = Babysitter(policy=Own((Stop(),)), signals=[Plateau("min", patience=0, min_delta=100.0)])
    done = trial(LitDigits, stopping, trainer={"min_epochs": 6})
    assert (done.state, done.epochs) == ("complete", 3)
