"""A study as users see it, and the recorder that a search writes it with."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_hp.errors import ConfigError
from lightning_hp.space import Space
from lightning_hp.study.history import add_epoch
from lightning_hp.study.store import Store
from lightning_hp.trial import EpochEnded, Event, Finished, Started, Trial

# How a running trial stands is for onlookers, so it is written at most this often, in seconds: a write costs a sync.
UPDATE_INTERVAL = 1.0


class Study:
    """The trials of one search, read from its folder as they stand at each look.

    Args:
        root: the folder that the search was given as ``root_dir``.
        space: gives choices back as the user's own objects; without it they are their names.
        loader: rebuilds a trial's model, for `Trial.load`.

    Raises:
        ConfigError: the folder holds no study.
    """

    def __init__(
        self,
        root: str | Path,
        space: Space | None = None,
        loader: Callable[[Trial], Any] | None = None,
    ) -> None:
        self.root = Path(root)
        self._space = space
        self._loader = loader
        Store(self.root).close()

    @property
    def asked(self) -> dict[str, Any]:
        """What the search was asked for: monitor, mode, seed, strategy, space and so on."""
        store = Store(self.root)
        try:
            return store.asked()
        finally:
            store.close()

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, by number."""
        store = Store(self.root)
        try:
            found = store.trials()
        finally:
            store.close()
        return [replace(trial, hparams=self._values(trial.hparams), loader=self._loader) for trial in found]

    @property
    def best(self) -> Trial:
        """The complete trial with the best value; of equals the first.

        Raises:
            LookupError: no trial is complete. The message counts what the trials are instead.
        """
        ranked = self.leaderboard()
        if not ranked:
            trials = self.trials
            states = sorted({trial.state for trial in trials})
            counts = ", ".join(f"{sum(trial.state == state for trial in trials)} {state}" for state in states)
            raise LookupError(f"no trial of {self.root} is complete: {counts or 'none has started'}")
        return ranked[0]

    def leaderboard(self) -> list[Trial]:
        """The complete trials, best first; equals by number."""
        sign = -1.0 if self.asked["mode"] == "max" else 1.0
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        return sorted(complete, key=lambda trial: (sign * _number(trial.value), trial.number))

    def to_dict(self) -> dict[str, Any]:
        """The study as plain values, the form of ``lightning-hp show --json``. Values that JSON lacks (NaN) become None."""
        ranked = self.leaderboard()
        return {
            "study": {"root": str(self.root), **self.asked},
            "best": ranked[0].number if ranked else None,
            "trials": [_trial_dict(trial) for trial in self.trials],
        }

    def _values(self, labels: dict[str, Any]) -> dict[str, Any]:
        return self._space.from_labels(labels) if self._space is not None else labels


class Recorder:
    """Writes the events of a search into its study.

    Args:
        root: the study's folder; made when missing.
        asked: what is asked for. What decides the trials' results must be the same as when the study began.
        free: keys of ``asked`` that may change from run to run, such as the number of trials.
        space: to store choices by their names.

    Raises:
        ConfigError: the folder holds a study of another search; the message shows the difference.
    """

    def __init__(self, root: Path, asked: dict[str, Any], free: frozenset[str], space: Space) -> None:
        self._store = Store(root, create=True)
        self._space = space
        asked = json.loads(json.dumps(asked))
        before = self._store.asked()
        decisive = [key for key in asked if key not in free and before]
        changes = [change for key in decisive if (change := _change(key, before.get(key), asked[key]))]
        if changes:
            self.close()
            difference = "; ".join(changes)
            raise ConfigError(f"{root} holds a study of another search: {difference}. Take another folder, or ask as before")
        if before != asked:
            self._store.ask(asked)
        self._store.release()
        self._running: dict[int, Running] = {}
        self._updated = -UPDATE_INTERVAL

    def trials(self) -> list[Trial]:
        return [replace(trial, hparams=self._space.from_labels(trial.hparams)) for trial in self._store.trials()]

    def record(self, event: Event) -> None:
        """Writes one event. A finished trial is on the disk when this returns; the rest is for onlookers and may wait."""
        if isinstance(event, Started):
            self._running[event.trial.number] = Running(event)
        elif isinstance(event, EpochEnded):
            running = self._running[event.number]
            add_epoch(running.metrics, event.epoch, event.metrics)
            running.epochs = event.epoch + 1
        elif isinstance(event, Finished):
            started = self._running.pop(event.number).started
            self._store.write(self._labelled(event.outcome.applied_to(started.trial)), started.time, event.time)
        if self._running and time.monotonic() - self._updated >= UPDATE_INTERVAL:
            self._update()

    def close(self) -> None:
        self._store.close()

    def release(self) -> None:
        """Marks running trials as waiting: the search is interrupted."""
        self._store.release()

    def _update(self) -> None:
        for running in self._running.values():
            trial = replace(running.started.trial, state="running", epochs=running.epochs, metrics=running.metrics)
            self._store.write(self._labelled(trial), running.started.time)
        self._updated = time.monotonic()

    def _labelled(self, trial: Trial) -> Trial:
        return replace(trial, hparams=self._space.labels(trial.hparams))


@dataclass
class Running:
    """What the recorder knows of a trial that runs."""

    started: Started
    epochs: int = 0
    metrics: dict[str, list[float | None]] = field(default_factory=dict)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _trial_dict(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "value": trial.value,
        "hparams": trial.hparams,
        "seed": trial.seed,
        "epochs": trial.epochs,
        "metrics": {name: [_finite(value) for value in values] for name, values in trial.metrics.items()},
        "reason": trial.reason,
        "checkpoint": str(trial.checkpoint) if trial.checkpoint else None,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _change(key: str, before: Any, now: Any) -> str | None:
    both_dicts = isinstance(before, dict) and isinstance(now, dict)
    # The order of a space decides which random number goes to which hyperparameter.
    if before == now and not (both_dicts and list(before) != list(now)):
        return None
    if both_dicts:
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if not names:
            return f"{key} has another order: was {list(before)}, is {list(now)}"
        return "; ".join(f"{key}[{name!r}] was {before.get(name)}, is {now.get(name)}" for name in names)
    return f"{key} was {before!r}, is {now!r}"
