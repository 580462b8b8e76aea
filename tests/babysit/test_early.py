"""EarlyStopping beside a Babysitter: it does not end a fit for what was gone back from, nor at a value that is answered."""

from __future__ import annotations

import warnings

import pytest
from lightning.pytorch.callbacks import EarlyStopping

from examples.digits import LitDigits
from lightning_hp import Babysitter
from lightning_hp.babysit.actions import Rollback, Snapshot
from tests.babysit.scripted import Scripted

NAN = float("nan")


def test_checks_that_are_gone_back_from_do_not_count_against_its_patience(fit, scripted):
    # In one line it would be three checks without improvement.
    script = [1.0, 2.0, 2.0, 2.0, 2.0, 0.5]
    doings = {0: [Snapshot("a")], 2: [Rollback("a")], 4: [Rollback("a")]}
    stopping = EarlyStopping("score", patience=3)
    trainer = fit(scripted(script), Babysitter("score", patience=9, policy=Scripted(doings)), stopping)
    assert (trainer.current_epoch, stopping.wait_count, float(stopping.best_score)) == (6, 0, 0.5)


def test_a_best_that_is_gone_back_from_is_not_what_is_to_be_beaten(fit, scripted):
    doings = {0: [Snapshot("a")], 1: [Rollback("a")]}
    stopping = EarlyStopping("score", patience=2)
    trainer = fit(scripted([0.1, 4.0, 3.0, 2.0]), Babysitter("score", patience=9, policy=Scripted(doings)), stopping, epochs=4)
    assert (trainer.current_epoch, float(stopping.best_score)) == (4, 2.0)


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("arguments", [{}, {"val_check_interval": 3, "check_val_every_n_epoch": None}], ids=["epochs", "steps"])
def test_a_metric_that_is_not_finite_is_gone_back_from_and_does_not_end_the_fit(fit, scripted, interventions, first, arguments):
    callbacks = [EarlyStopping("score", patience=9), Babysitter("score")]
    trainer = fit(scripted([2.0, 1.0, NAN, 0.5]), *callbacks[:: 1 if first else -1], **arguments)
    assert trainer.current_epoch == 6
    assert [each.reason for each in interventions(trainer)] == ["score: the metric is nan"]
    assert callbacks[0].check_finite


def test_a_policy_that_does_not_answer_leaves_it_to_end_the_fit(fit, scripted):
    babysitter = Babysitter("score", policy=Scripted({}), signals=Babysitter().policy.signals(Babysitter().plateau))
    trainer = fit(scripted([1.0, NAN]), babysitter, EarlyStopping("score", patience=9))
    assert trainer.current_epoch == 3


@pytest.mark.parametrize(("theirs", "warned"), [(3, True), (6, True), (7, False)])
def test_one_that_ends_the_fit_before_a_plateau_is_told(fit, scripted, theirs, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(scripted(), Babysitter("score", patience=5), EarlyStopping("score", patience=theirs), epochs=1)
    assert any("EarlyStopping ends this fit" in str(each.message) for each in caught) == warned


def test_a_mode_that_seeks_the_worst_is_told(fit):
    with pytest.warns(UserWarning, match="monitor='val_acc' looks like a metric that shall rise"):
        fit(LitDigits(), Babysitter("val_acc"), epochs=1)
