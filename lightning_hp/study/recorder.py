"""The recorder: the one writer of a study. It takes the events of a search and puts them on the disk."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_hp.errors import ConfigError, StorageError, cannot_write, disk_error
from lightning_hp.space import Space
from lightning_hp.study import decisions
from lightning_hp.study.keep import Keep, remove_checkpoints
from lightning_hp.study.lock import Lock
from lightning_hp.study.records import write_record
from lightning_hp.study.store import FILE, Store
from lightning_hp.trial import (
    EpochEnded,
    Event,
    Finished,
    Judged,
    Paused,
    RoundBegan,
    Started,
    State,
    Trial,
    add_epoch,
    given_back_by,
    trial_folder,
)

# How a running trial stands is for onlookers, so it is written at most this often, in seconds: a write costs a sync.
UPDATE_INTERVAL = 1.0


class Recorder:
    """Writes the events of a search into its study, which it holds against other searches until it is closed.

    A study in which nothing but failures has finished says nothing about the search, whose cause may have been mended since:
    its failed trials are forgotten, and what was asked for may change; then the interrupted ones are forgotten too.

    Args:
        root: the study's folder; made when missing.
        asked: what is asked for. What decides the trials' results must be the same as when the study began.
        free: keys of ``asked`` that may change from run to run, such as the number of trials.
        space: to store choices by their names.
        keep: how many trials keep their checkpoints, the best ones; None for all.

    Raises:
        ConfigError: the folder holds a study of another search; the message shows the difference.
        StorageError: the folder cannot be written, its study is damaged, or another search is at work in it.
    """

    def __init__(self, root: Path, asked: dict[str, Any], free: frozenset[str], space: Space, keep: int | None = None) -> None:
        self._root = root
        self._space = space
        self._asked = json.loads(json.dumps(asked))
        self._running: dict[int, Running] = {}
        self._ended: list[tuple[Trial, float, float]] = []
        self._updated = -UPDATE_INTERVAL
        self._keep = Keep(keep, asked["mode"]) if keep is not None else None
        _make(root)
        self._lock = Lock(root)
        try:
            self._store = Store(root, create=True)
            try:
                self._store.check()
                self._begin(free)
            except BaseException:
                self._store.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def _begin(self, free: frozenset[str]) -> None:
        before = self._store.asked()
        if not before:
            _check_not_lost(self._root)
        changes = asked_otherwise(before, self._asked, [key for key in self._asked if key not in free])
        counts = self._store.counts()
        if not any(counts.get(state) for state in ("complete", "pruned", "diverged")):
            self._forget(("failed", "running", "waiting") if changes else ("failed",))
            if before and changes:
                # Also what a trial has left that was killed before it was written down.
                self._store.forget_judged()
                decisions.forget(self._root)
                shutil.rmtree(self._root / "trials", ignore_errors=True)
        elif changes:
            raise ConfigError(
                f"{self._root} holds a study of another search: {'; '.join(changes)}. Take another folder, or ask as before"
            )
        if before != self._asked:
            self._store.ask(self._asked)
        self._store.release()
        if self._keep is not None:
            finished = [trial for trial in self._store.trials(brief=True) if trial.finished]
            self._drop([number for trial in finished for number in self._keep.add(trial)])

    def _forget(self, states: tuple[State, ...]) -> None:
        numbers = [trial.number for trial in self._store.trials(brief=True) if trial.state in states]
        for number in numbers:
            shutil.rmtree(trial_folder(self._root, number), ignore_errors=True)
        if numbers:
            self._store.forget(numbers)

    def trials(self) -> list[Trial]:
        """All trials by number, without their curves and tracebacks."""
        return [replace(trial, hparams=self._space.from_labels(trial.hparams)) for trial in self._store.trials(brief=True)]

    def judged(self) -> list[Judged]:
        """What a pruner has decided so far."""
        return self._store.judged()

    def record(self, event: Event) -> None:
        """Writes one event.

        A finished trial is on the disk when this returns, or with the last of those that have ended with it, before anything
        else is written: each write costs a sync. The rest is for onlookers and may wait.
        """
        if not isinstance(event, Finished):
            self._write_ended()
        if isinstance(event, Judged) and not all(self._is_known(number) for number in event.values):
            # Who is decided about would otherwise be proposed anew after an interruption, perhaps by what comes of others.
            self._update()
        if isinstance(event, (RoundBegan, Judged)):
            decisions.note(self._root, event)
            self._store.decide(event)
        elif isinstance(event, Started):
            before = self._running.get(event.trial.number)
            # It may have been at a rung, or lost its process: it began when it did so first.
            began = before.began if before is not None else event.time
            self._running[event.trial.number] = Running(began, self._labelled(event.trial))
        elif isinstance(event, EpochEnded):
            running = self._running[event.number]
            add_epoch(running.metrics, event.epoch, event.metrics)
            running.epochs, running.changed = event.epoch + 1, True
        elif isinstance(event, Paused):
            running = self._running[event.number]
            running.state, running.reason, running.changed = "waiting", "paused: it is not decided yet who goes on", True
            running.epochs, running.metrics = event.outcome.epochs, dict(event.outcome.metrics)
        elif isinstance(event, Finished):
            self._finish(event)
        elif given_back := given_back_by(event):
            self._give_back([self._running.pop(number) for number in given_back])
        if self._running and not self._ended and time.monotonic() - self._updated >= UPDATE_INTERVAL:
            self._update()

    def close(self) -> None:
        """Marks running trials as waiting, and gives the study free."""
        try:
            # Where the disk takes no data, what has ended the search is to be told and not this; the next search does it.
            with suppress(StorageError):
                self._write_ended()
                self._store.release()
        finally:
            self._store.close()
            self._lock.release()

    def _give_back(self, given_back: Sequence[Running]) -> None:
        """Has trials that wait for another job not shown as running, perhaps for long."""
        if shown := [each for each in given_back if each.known]:
            self._store.write_all((replace(each.standing(), state="waiting"), each.began, None) for each in shown)

    def _finish(self, event: Finished) -> None:
        running = self._running.pop(event.number)
        self._ended.append((event.outcome.applied_to(running.trial), running.began, event.time))
        if not event.more:
            self._write_ended()

    def _write_ended(self) -> None:
        """Has the trials that have ended on the disk when it returns."""
        ended, self._ended = self._ended, []
        if not ended:
            return
        lost = {number for trial, *_ in ended for number in self._keep.add(trial)} if self._keep is not None else set()
        rows = [(replace(t, checkpoint=None) if t.number in lost else t, began, end) for t, began, end in ended]
        for row in rows:
            write_record(self._root, self._asked, *row)
        self._store.write_all(rows)
        written = {trial.number for trial, *_ in ended}
        remove_checkpoints(self._root, lost & written)
        self._drop(sorted(lost - written))

    def _drop(self, numbers: list[int]) -> None:
        """Takes trials their checkpoints. A study never names one that is not there."""
        if numbers:
            self._store.drop_checkpoints(numbers)
            remove_checkpoints(self._root, numbers)

    def _update(self) -> None:
        changed = [each for each in self._running.values() if each.changed]
        self._store.write_all((each.standing(), each.began, None) for each in changed)
        for each in changed:
            each.changed, each.known = False, True
        self._updated = time.monotonic()

    def _is_known(self, number: int) -> bool:
        """Whether the study has a trial's hyperparameters."""
        return number not in self._running or self._running[number].known

    def _labelled(self, trial: Trial) -> Trial:
        return replace(trial, hparams=self._space.labels(trial.hparams))


@dataclass
class Running:
    """What the recorder knows of a trial that runs, or waits at a rung. Its hyperparameters are labels."""

    began: float
    trial: Trial
    state: State = "running"
    reason: str | None = None
    epochs: int = 0
    metrics: dict[str, list[float | None]] = field(default_factory=dict)
    changed: bool = True
    known: bool = False

    def standing(self) -> Trial:
        """The trial as it stands."""
        return replace(self.trial, state=self.state, reason=self.reason, epochs=self.epochs, metrics=self.metrics)


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if disk_error(error) is not None:
            raise cannot_write(root, error) from error
        raise ConfigError(f"the study's folder {root} cannot be made: {error.strerror}") from None
    path = root / FILE
    if not path.exists() or path.stat().st_size == 0:
        _check_not_lost(root)


def _check_not_lost(root: Path) -> None:
    if any(root.glob("trials/*/trial.json")):
        raise StorageError(
            f"{root} holds trials but its {FILE} is gone: lightning-hp repair {root} rebuilds it from their records; for a new "
            "search take another folder"
        )


def asked_otherwise(before: dict[str, Any], now: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """What two searches ask for otherwise, as far as these keys go, in words."""
    return [change for key in keys if (change := _change(key, before, now))]


def _change(key: str, all_before: dict[str, Any], all_now: dict[str, Any]) -> str | None:
    before, now = all_before.get(key), all_now[key]
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"{key} was {before!r}, is {now!r}" if before != now else None
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        return "; ".join(f"{key}[{name!r}] {_otherwise(name, before, now)}" for name in names)
    # The order of a space decides which random number goes to which hyperparameter.
    if key == "space" and list(before) != list(now):
        return f"{key} has another order: was {list(before)}, is {list(now)}"
    return None


def _otherwise(name: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    if name in before and name in now:
        return f"was {before[name]}, is {now[name]}"
    return "is new" if name in now else "is gone"
