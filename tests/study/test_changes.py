"""From one look at a study to the next, as events."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from lightning_hp.study.changes import changes, standing
from lightning_hp.study.store import Store
from lightning_hp.trial import EpochEnded, Finished, Outcome, Paused, Started, Trial

NEW = Trial(3, {"lr": 0.1}, 0, "running")
AFTER_ONE = replace(NEW, epochs=1, metrics={"loss": [0.5], "acc": [None]})
DONE = replace(NEW, state="complete", value=0.5, epochs=2)


def between(before, now):
    before, now = ({trial.number: trial for trial in trials} for trials in (before, now))
    return list(changes(before, now, lambda trial: 7))


def test_a_trial_begins_trains_and_ends():
    assert between([], [NEW]) == [Started(NEW, 0.0, 7)]
    assert between([NEW], [AFTER_ONE]) == [EpochEnded(3, 0, {"loss": 0.5})]
    assert between([AFTER_ONE], [DONE]) == [Finished(3, Outcome("complete", 0.5, 2), 0.0)]
    assert between([DONE], [DONE]) == []
    assert between([AFTER_ONE], [AFTER_ONE]) == []


def test_what_happened_between_two_looks_is_told_at_once():
    assert between([], [AFTER_ONE]) == [Started(AFTER_ONE, 0.0, 7), EpochEnded(3, 0, {"loss": 0.5})]
    assert between([], [DONE]) == [Finished(3, Outcome("complete", 0.5, 2), 0.0)]


def test_a_trial_at_a_rung_waits_and_goes_on():
    waiting = replace(AFTER_ONE, state="waiting", reason="paused")
    assert between([AFTER_ONE], [waiting]) == [Paused(3, Outcome("pruned", None, 1, reason="paused"), 0.0)]
    assert between([waiting], [AFTER_ONE]) == [Started(AFTER_ONE, 0.0, 7), EpochEnded(3, 0, {"loss": 0.5})]


def test_a_pruned_trial_that_is_trained_on_begins_again():
    assert between([replace(DONE, state="pruned")], [AFTER_ONE])[0] == Started(AFTER_ONE, 0.0, 7)


def test_only_trials_that_run_are_read_with_their_metrics(tmp_path):
    with closing(Store(tmp_path, create=True)) as store:
        store.write(replace(DONE, metrics={"loss": [0.5]}, number=0), 0.0, 1.0)
        store.write(AFTER_ONE, 0.0)
        found = standing(store)
    assert (found[0].metrics, found[3].metrics) == ({}, AFTER_ONE.metrics)
