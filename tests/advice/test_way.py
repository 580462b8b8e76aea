"""Many models or one: what is told of the time given."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import EarlyStopping

from lightning_hp.advice import Way
from lightning_hp.trial import EpochEnded, Finished, Grouped, Outcome, Started, Trial, Unfused

START = Started(Trial(0, {}, 0), 0.0, max_epochs=10)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def play():
    """Plays events, each so many seconds after the one before; gives what is told."""

    def told(seconds, *events):
        clock, lines = Clock(), []
        way = Way(seconds, lines.append, clock)
        for later, event in events:
            clock.now += later
            way.record(event)
        return lines

    return told


def test_too_few_trials_fit_into_the_time_given(play):
    (line,) = play(3000.0, (0, START), (500, EpochEnded(0, 0, {})), (100, EpochEnded(0, 1, {})), (100, EpochEnded(0, 2, {})))
    assert line.startswith("note: at 1 min 40 s an epoch max_time is enough for about 3 trials; one babysat fit is worth")


def test_nothing_is_told_where_a_search_pays(play):
    assert play(6000.0, (0, START), (500, EpochEnded(0, 0, {})), (100, EpochEnded(0, 1, {}))) == []


def test_trials_that_run_at_the_same_time_are_counted(play):
    others = [(0, Started(Trial(number, {}, 0), 0.0, max_epochs=10)) for number in (1, 2, 3)]
    assert play(3000.0, (0, START), *others, (500, EpochEnded(0, 0, {})), (100, EpochEnded(0, 1, {}))) == []


@pytest.mark.parametrize(
    "ended",
    [Finished(1, Outcome("failed"), 0.0), Grouped({0: "one", 1: "another"}, (1,)), Unfused((1,), "manual optimization")],
)
def test_those_that_have_ended_or_wait_for_another_job_are_not(play, ended):
    other = Started(Trial(1, {}, 0), 0.0, max_epochs=10)
    epochs = [(10, EpochEnded(0, 0, {})), (100, EpochEnded(0, 1, {}))]
    assert play(3000.0, (0, START), (0, other), *epochs) == []
    assert len(play(3000.0, (0, START), (0, other), (0, ended), *epochs)) == 1


@pytest.mark.parametrize("most", [None, -1])
def test_without_a_known_number_of_epochs_nothing_is_told(play, most):
    start = Started(Trial(0, {}, 0), 0.0, max_epochs=most)
    assert play(1.0, (0, start), (10, EpochEnded(0, 0, {})), (100, EpochEnded(0, 1, {}))) == []


def test_a_trial_that_goes_on_from_a_checkpoint_is_measured_by_whole_epochs(play):
    # Its first epoch here is not the trial's first.
    assert play(1.0, (0, START), (500, EpochEnded(0, 5, {})), (100, EpochEnded(0, 6, {}))) == []


def early_stopping():
    return EarlyStopping("val_acc", mode="max", min_delta=1.0, patience=2)


def test_a_search_with_little_time_says_so(search, capsys):
    search(
        trials=None,
        max_time=0.5,
        trainer={"max_epochs": 1000, "accelerator": "cpu", "callbacks": [early_stopping]},
        progress=True,
    ).run()
    assert "one babysat fit is worth as much" in capsys.readouterr().err
