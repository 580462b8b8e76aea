"""Keeps the log of one fit, in babysit.jsonl and in the loggers: for the Babysitter, and for a replay of what it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from lightning_hp.babysit import hands, log
from lightning_hp.babysit.actions import Action, Knobs
from lightning_hp.babysit.course import Course
from lightning_hp.babysit.means import Means
from lightning_hp.errors import ConfigError

# Seconds from one write to the next of what changes nothing. A write costs the more the fewer records it writes, and no person
# reads quicker.
INTERVAL = 1.0
_NONE_ALONE: tuple[dict[str, Any], Any, str, Any] = {}, None, "", None


def made(trainer: Trainer) -> int:
    """The training batches made so far, as they stand before a batch."""
    return trainer.fit_loop.epoch_loop.total_batch_idx


class Logbook:
    """What is written down of one fit. Each record is made just before the batch that it names.

    What changes the fit is in the file at once, with all that came before it. What only tells of it may wait for `INTERVAL`,
    but not beyond a checkpoint, nor the fit's end.

    Whoever has it calls `begin` in ``on_train_start``, `before_batch` first thing in ``on_train_batch_start``, `before_step` in
    ``on_before_optimizer_step``, `end` in ``on_train_end``, and `flush` where the fit ends, however it does.

    Args:
        file: the babysit.jsonl; None is for the loggers alone.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._course = Course()
        self._losses = Means()
        self._check: dict[str, Any] = {}
        self._interventions = 0
        self._last_batch = -1
        self._warned = False
        # Records that are not in the file yet, and when they are to be.
        self._waiting: list[log.Record] = []
        self._next_write = 0.0
        # Others write into the same file.
        self._shares = False
        # By the id of an optimizer, what reads lr and momentum of a group, and how its groups stood at its last step.
        self._seen: dict[int, tuple[Callable[[dict[str, Any]], Any], list[Any]]] = {}
        # If the last to step has one group: that, its lr, and the name and value of its momentum.
        self._alone: tuple[dict[str, Any], Any, str, Any] = _NONE_ALONE

    def begin(self, trainer: Trainer, shares: bool = False) -> list[log.Record]:
        """Drops what a fit that goes on from here will write again; on rank 0 gives it.

        Args:
            trainer: the fit's.
            shares: whether others write into the same file, where all records are to come in the order of what they tell.
        """
        self._shares = shares
        # A checkpoint may lie between an intervention and the batch that follows it.
        first = max(made(trainer) + 1, self._last_batch + 1)
        dropped: list[log.Record] = []
        if self.file is not None and trainer.is_global_zero:
            with suppress(OSError, ConfigError):
                dropped = [record for record in log.read(self.file) if record.batch >= first]
        if trainer.is_global_zero:
            self._write(lambda file: log.rewind(file, first))
        return dropped

    def check(self, monitor: str, value: float) -> None:
        """Takes in the value of a check, to be written before the next batch."""
        self._check = {"monitor": monitor, "value": value}

    def losses(self, values: Iterable[tuple[int, float]]) -> None:
        """Takes in training losses, each with the optimizer steps made before it."""
        self._losses.add(values)

    def before_step(self, trainer: Trainer, optimizer: Optimizer) -> None:
        """Takes in lr and momentum of the step that comes, which is this optimizer's."""
        groups = optimizer.param_groups
        group, lr, name, momentum = self._alone
        # Most steps come to no more than this: what is the same object has not changed, and takes the least time to tell.
        if group is groups[0] and group["lr"] is lr and group[name] is momentum and len(groups) == 1:
            return
        read, values = self._seen.get(id(optimizer), (len, None))
        if values != list(map(read, groups)):
            step = trainer.global_step
            self._course.hold(step - 1)
            self._course.follow(step, trainer.optimizers)
            self._seen[id(optimizer)] = _as_seen(groups)
        self._alone = _as_alone(groups)

    def before_batch(self, trainer: Trainer) -> None:
        """Writes how the fit stands, if there was a check."""
        if self._check:
            self._put(trainer, self._state(trainer, made(trainer)))
            self._check = {}

    def found(self, trainer: Trainer, reason: str, **detail: Any) -> None:
        """Writes down what a signal has found."""
        self._put(trainer, log.Record("signal", *_place(trainer), reason, detail))

    def done(
        self,
        trainer: Trainer,
        event: log.Event,
        reason: str,
        actions: Sequence[Action],
        before: Sequence[Knobs],
        after: Sequence[Knobs],
        **detail: Any,
    ) -> log.Record:
        """Writes down what was done just now, and lr and momentum of each parameter group before and after it."""
        detail = {"actions": [log.to_plain(action) for action in actions]} | detail
        record = log.Record(event, *_place(trainer), reason, detail, list(before), list(after))
        self._interventions += record.intervenes
        self._put(trainer, record)
        return record

    def end(self, trainer: Trainer) -> None:
        """Writes how the fit stands at its end. It is not counted as written: one that goes on will have more to say."""
        written = self._last_batch
        self._put(trainer, self._state(trainer, made(trainer) + 1, counts=False))
        self._last_batch = written
        self.flush()

    def flush(self) -> None:
        """Writes what waits to be written."""
        if self._waiting:
            records, self._waiting = self._waiting, []
            self._write(lambda file: log.extend(records, file))
            self._next_write = time.monotonic() + INTERVAL

    def state_dict(self) -> dict[str, Any]:
        # A fit that goes on from here does not write it again.
        self.flush()
        return {
            "course": self._course.state_dict(),
            "losses": self._losses.state_dict(),
            "check": dict(self._check),
            "interventions": self._interventions,
            "last_batch": self._last_batch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._course.load_state_dict(state_dict["course"])
        self._losses.load_state_dict(state_dict["losses"])
        self._check = dict(state_dict["check"])
        self._interventions, self._last_batch = state_dict["interventions"], state_dict["last_batch"]

    def _state(self, trainer: Trainer, batch: int, counts: bool = True) -> log.Record:
        self._course.hold(trainer.global_step - 1)
        self._course.follow(trainer.global_step, trainer.optimizers, at_check=True)
        losses, course = (part.take() if counts else part.peek() for part in (self._losses, self._course))
        detail = self._check | {"losses": losses, "course": course}
        groups = hands.read(trainer)
        return log.Record("state", trainer.current_epoch, trainer.global_step, batch, "", detail, groups, groups)

    def _put(self, trainer: Trainer, record: log.Record) -> None:
        self._last_batch = record.batch
        if not trainer.is_global_zero:
            return
        changes = record.event == "request" or record.intervenes
        # A snapshot alone is no event to draw.
        if changes or record.event == "state":
            # As Lightning numbers curves, also where a batch has steps of several optimizers.
            step = trainer.fit_loop.epoch_loop._batches_that_stepped
            log.show(replace(record, step=step), trainer.loggers, self._interventions)
        self._waiting.append(record)
        if changes or self._shares or time.monotonic() >= self._next_write:
            self.flush()

    def _write(self, write: Callable[[Path], None]) -> None:
        if self.file is None:
            return
        try:
            write(self.file)
        except (OSError, ValueError) as error:
            if not self._warned:
                rank_zero_warn(f"Babysitter can't write {self.file}, training goes on without this log: {error}")
            self._warned = True


def _as_alone(groups: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], Any, str, Any]:
    first = groups[0]
    if len(groups) > 1 or isinstance(first["lr"], torch.Tensor):
        return _NONE_ALONE
    name = next((name for name in ("betas", "momentum") if name in first), "lr")
    return first, first["lr"], name, first[name]


def _as_seen(groups: Sequence[dict[str, Any]]) -> tuple[Callable[[dict[str, Any]], Any], list[Any]]:
    # Groups of one optimizer have the same keys.
    read = itemgetter(*({"lr", "momentum", "betas"} & groups[0].keys()))
    # Tensors are changed in place, so that they never count as compared.
    fixed = not any(isinstance(group["lr"], torch.Tensor) for group in groups)
    return read, [read(group) for group in groups] if fixed else []


def _place(trainer: Trainer) -> tuple[int, int, int]:
    return trainer.current_epoch, trainer.global_step, made(trainer)
