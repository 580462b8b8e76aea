"""What has happened in a study between two looks at it, as the events that its search has told its own sinks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from lightning_hp.study.store import Store
from lightning_hp.trial import EpochEnded, Event, Finished, Outcome, Paused, Started, Trial

Standing = Mapping[int, Trial]


def standing(store: Store) -> dict[int, Trial]:
    """How all trials stand, by number; only those that run with their metrics, of which there may be many."""
    return {trial.number: trial for trial in store.trials(brief=True)} | {trial.number: trial for trial in store.running()}


def changes(before: Standing, now: Standing, max_epochs: Callable[[Trial], int | None]) -> Iterator[Event]:
    """The events that lead from one standing to another, as far as they can be told.

    Args:
        before: at the last look.
        now: at this one.
        max_epochs: tells how many epochs a trial has.

    >>> trial = Trial(0, {}, 0, "running", epochs=2, metrics={"loss": [0.5, 0.4]})
    >>> [type(event).__name__ for event in changes({}, {0: trial}, lambda trial: 5)]
    ['Started', 'EpochEnded']
    """
    for number, trial in now.items():
        old = before.get(number)
        if trial.state == "running":
            if old is None or old.state != "running":
                yield Started(trial, 0.0, max_epochs(trial))
            if trial.epochs and (old is None or old.state != "running" or old.epochs != trial.epochs):
                yield EpochEnded(number, trial.epochs - 1, _last(trial))
        elif trial.finished and (old is None or not old.finished):
            yield Finished(number, _outcome(trial), 0.0)
        elif trial.state == "waiting" and old is not None and old.state == "running":
            yield Paused(number, replace(_outcome(trial), state="pruned"), 0.0)


def _last(trial: Trial) -> dict[str, float]:
    return {name: values[-1] for name, values in trial.metrics.items() if values and values[-1] is not None}


def _outcome(trial: Trial) -> Outcome:
    return Outcome(trial.state, trial.value, trial.epochs, reason=trial.reason)
