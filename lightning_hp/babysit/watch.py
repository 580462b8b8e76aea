"""Watching one metric of a running fit: each new value once, whenever the module logs it, and the same on all processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer

from lightning_hp.errors import MonitorError, missing_metric


def logged_since(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics that were logged from one look at ``trainer.callback_metrics`` to the next.

    Lightning goes on showing what was logged last: a value is new when it is another object than before.
    """
    return {name: value for name, value in now.items() if value is not before.get(name)}


class Watch:
    """Finds each new value of a metric: after a validation, or after an epoch if it does not come with validations.

    Under DDP the value is rank 0's on all processes, and so is whether there is one: processes that decided each for itself
    would train apart.

    Attributes:
        monitor: the metric's name.
        validates: whether it comes with validations.
        logged: whether it has ever been logged.
        epoch_ended: whether an epoch of this fit has ended.
        validated: whether a validation of this fit has ended.
        before_epoch: the metrics as this epoch began.
        before_validation: the metrics as the last validation began.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.validates = False
        self.logged = False
        self.epoch_ended = False
        self.validated = False
        self.before_epoch: dict[str, Any] = {}
        self.before_validation: dict[str, Any] = {}
        self._validation_due = False
        self._epoch_due = False

    def state_dict(self) -> dict[str, bool]:
        return {"validates": self.validates, "logged": self.logged}

    def load_state_dict(self, state: dict[str, bool]) -> None:
        self.validates, self.logged = state["validates"], state["logged"]

    def validation_starts(self, trainer: Trainer) -> None:
        self.before_validation = dict(trainer.callback_metrics)

    def validation_ends(self) -> None:
        self.validated = self._validation_due = True

    def validation_was_seen(self) -> None:
        self._validation_due = False

    def epoch_starts(self, trainer: Trainer) -> None:
        self.before_epoch = dict(trainer.callback_metrics)
        self._epoch_due = False

    def epoch_ends(self) -> None:
        self.epoch_ended = self._epoch_due = True

    def new_of_validation(self, trainer: Trainer) -> float | None:
        """The value of the validation that has ended, unless there is none or it was given before."""
        value = self._new(trainer, self.before_validation.get(self.monitor)) if self._validation_due else None
        if value is not None:
            self._validation_due = False
            self.validates = True
        return value

    def new_of_epoch(self, trainer: Trainer) -> float | None:
        """The value of the epoch that has ended, unless there is none, it was given before, or validations give it."""
        value = self._new(trainer, self.before_epoch.get(self.monitor)) if self._epoch_due and not self.validates else None
        if value is not None:
            self._epoch_due = False
        return value

    def is_missing(self, trainer: Trainer) -> bool:
        """Whether the metric was never logged. All processes have to ask."""
        if not self.logged:
            self.logged = trainer.strategy.broadcast(self.monitor in trainer.callback_metrics)
        return not self.logged

    def require(self, trainer: Trainer) -> None:
        """Raises a `MonitorError` if the metric was never logged. All processes have to ask."""
        if self.is_missing(trainer):
            raise MonitorError(f"Babysitter {self.complaint(trainer)}")

    def complaint(self, trainer: Trainer) -> str:
        """What to say about a metric that is missing."""
        return missing_metric(self.monitor, trainer.callback_metrics, validated=self.validated, barebones=trainer.barebones)

    def may_never_come(self, trainer: Trainer) -> bool:
        """Whether the validation that has ended did not log it, in an epoch that may have no end for it to come at."""
        return self._validation_due and math.isinf(trainer.num_training_batches) and self.is_missing(trainer)

    def _new(self, trainer: Trainer, before: Any) -> float | None:
        value = trainer.callback_metrics.get(self.monitor)
        new: float | None = trainer.strategy.broadcast(None if value is None or value is before else float(value))
        self.logged = self.logged or new is not None
        return new


def checks_left(trainer: Trainer, watch: Watch) -> int | None:
    """Checks that are to come until a fit has made its epochs or steps, asked at a batch's start; None if it has no end."""
    loop, per_epoch = trainer.fit_loop.epoch_loop, trainer.num_training_batches
    made = loop.total_batch_idx if math.isinf(per_epoch) else trainer.current_epoch * int(per_epoch) + loop.batch_idx
    ends = []
    if trainer.max_epochs not in (None, -1):
        ends.append(trainer.max_epochs * per_epoch)
    if trainer.max_steps != -1:
        ends.append(_batches(trainer, made, trainer.max_steps - trainer.global_step))
    end = min(ends, default=math.inf)
    if math.isinf(end):
        return None
    if watch.validates or (trainer.enable_validation and not watch.logged):
        # A trial that trains together with others shares the loop of another Trainer, who knows.
        every = trainer.fit_loop.trainer.val_check_batch
        # None is by the clock.
        if every is None or math.isinf(every):
            return None
        return _validations(trainer, int(end), int(every)) - _validations(trainer, made, int(every))
    # An epoch that max_steps cuts short has an end, too.
    return None if math.isinf(per_epoch) else math.ceil(end / per_epoch) - made // int(per_epoch)


def _batches(trainer: Trainer, made: int, steps: int) -> float:
    """How many batches there are when so many steps have come after these batches."""
    if not trainer.lightning_module.automatic_optimization:
        # All that can be known is how many steps a batch has had; at first, that each optimizer makes one is the rule.
        rate = trainer.global_step / made if trainer.global_step and made else len(trainer.optimizers)
        return made + math.ceil(steps / rate)
    each, per_epoch = trainer.accumulate_grad_batches, trainer.num_training_batches
    if math.isinf(per_epoch):
        return made + steps * each
    # An epoch's last batches make a step, however few they are.
    steps_per_epoch = math.ceil(per_epoch / each)
    epochs, batches = divmod(made, int(per_epoch))
    epochs, rest = divmod(epochs * steps_per_epoch + batches // each + steps, steps_per_epoch)
    return epochs * per_epoch + rest * each


def _validations(trainer: Trainer, batches: int, every: int) -> int:
    """How many validations there are in so many batches."""
    epochs = trainer.check_val_every_n_epoch
    if epochs is None or math.isinf(trainer.num_training_batches):
        return batches // every
    whole, rest = divmod(batches, int(trainer.num_training_batches))
    each = int(trainer.num_training_batches) // every
    return whole // epochs * each + (rest // every if (whole + 1) % epochs == 0 else 0)
