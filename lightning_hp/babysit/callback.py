"""The Babysitter: a Lightning callback that watches a metric and acts on plateaus."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from lightning_hp.babysit import knobs, log
from lightning_hp.babysit.policy import Knobs, Reduce
from lightning_hp.babysit.signals import Plateau, PlateauState, intervened, observe
from lightning_hp.babysit.watch import Watch
from lightning_hp.errors import ConfigError, MonitorError
from lightning_hp.trial import Mode


class Babysitter(Callback):
    """Lowers lr and raises momentum when a metric stops improving.

    Works with SGD, RMSprop and the Adam family (whose beta1 is the momentum), and with any torch schedule, which goes on from
    the new value. Beside a ReduceLROnPlateau the two share one patience: whichever acts first, the other starts counting anew.
    Lightning's StochasticWeightAveraging goes to its own swa_lrs when it starts, whatever was lowered before; from then on it
    is lowered like other schedules. Each intervention goes to babysit.jsonl in the logger's folder, and to TensorBoard as
    curves and a sentence.

    Args:
        monitor: the metric to watch, as logged by the module. None is the search's, and ``"val_loss"`` without a search.
        mode: whether it shall fall (``"min"``) or rise (``"max"``). None is the search's for the search's metric, and
            ``"min"`` for any other.
        patience: checks without improvement that are borne. A check is a validation, or an epoch for a training metric.
        min_delta: least change that counts as an improvement, in the metric's own unit.
        cooldown: checks after an intervention that do not count.
        factor: lr becomes lr * factor. The step that SGD settles at is lr / (1 - momentum), so that with factor 0.5 the
            default rise in momentum would undo the fall in lr; with 0.2 the two together shorten it to 0.4.
        min_lr: lr is never lowered below.
        momentum_factor: 1 - momentum becomes that times this, one step along the reverse-log scale: 0.5 takes 0.9 to 0.95,
            then to 0.975. 1 leaves momentum alone.
        max_momentum: momentum is never raised above, at no point of a schedule's cycle; a cycle that goes there by itself is
            left alone.

    Raises:
        ConfigError: an argument is out of its range.
        MonitorError: in the fit, if the module never logs ``monitor``.

    >>> Babysitter("val_acc", mode="max", patience=3).state_key
    "Babysitter{'monitor': 'val_acc', 'mode': 'max'}"
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Mode | None = None,
        patience: int = 5,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        factor: float = 0.2,
        min_lr: float = 0.0,
        momentum_factor: float = 0.5,
        max_momentum: float = 0.99,
    ) -> None:
        named = monitor is None or (isinstance(monitor, str) and monitor != "")
        _check("monitor", monitor, "the name of a logged metric", named)
        _check("mode", mode, "'min' or 'max'", mode in (None, "min", "max"))
        _check("patience", patience, "a whole number of at least 0", _whole(patience))
        _check("min_delta", min_delta, "a finite number of at least 0", _number(min_delta, 0, math.inf, below=True))
        _check("cooldown", cooldown, "a whole number of at least 0", _whole(cooldown))
        _check("factor", factor, "a number above 0 and below 1", _number(factor, 0, 1, above=True, below=True))
        _check("min_lr", min_lr, "a finite number of at least 0", _number(min_lr, 0, math.inf, below=True))
        _check("momentum_factor", momentum_factor, "a number above 0, at most 1", _number(momentum_factor, 0, 1, above=True))
        _check("max_momentum", max_momentum, "a number from 0 to below 1", _number(max_momentum, 0, 1, below=True))
        self._asked_monitor = monitor
        self._asked_mode: Mode | None = mode
        self.plateau = Plateau(mode or "min", int(patience), float(min_delta), int(cooldown))
        self.policy = Reduce(float(factor), float(min_lr), float(momentum_factor), float(max_momentum))
        self.monitor = monitor or "val_loss"
        self._start_afresh()

    def for_search(self, monitor: str, mode: Mode) -> Babysitter:
        """A fresh copy for one trial of a search, which watches the search's metric unless it was given its own.

        >>> Babysitter(patience=3).for_search("val_acc", "max").state_key
        "Babysitter{'monitor': 'val_acc', 'mode': 'max'}"
        """
        _check("mode", mode, "'min' or 'max'", mode in ("min", "max"))
        own = copy.deepcopy(self)
        own.monitor = self._asked_monitor or monitor
        if self._asked_mode is None and own.monitor == monitor:
            own.plateau = replace(self.plateau, mode=mode)
        own._start_afresh()
        return own

    def describe(self) -> dict[str, Any]:
        """The arguments as plain values: ``Babysitter(**babysitter.describe())`` is the same again.

        >>> Babysitter(patience=3).describe()["patience"]
        3
        """
        plateau = asdict(self.plateau) | {"mode": self._asked_mode}
        return {"monitor": self._asked_monitor} | plateau | asdict(self.policy)

    def _start_afresh(self) -> None:
        self.state = PlateauState()
        self.interventions = 0
        self._watch = Watch(self.monitor)
        self._pending: str | None = None
        self._last_step = -1
        # Of the ReduceLROnPlateaus: how they stood at the last batch, and whether one of them has lowered lr since.
        self._schedules: list[dict[str, Any]] = []
        self._cut = False
        self._file = Path(log.FILE)
        self._warned: set[str] = set()

    @property
    def state_key(self) -> str:
        return self._generate_state_key(monitor=self.monitor, mode=self.plateau.mode)

    def state_dict(self) -> dict[str, Any]:
        return {
            "plateau": asdict(self.state),
            "interventions": self.interventions,
            "last_step": self._last_step,
            "pending": self._pending,
            "schedules": self._schedules,
            "cut": self._cut,
            "validates": self._watch.validates,
            "logged": self._watch.logged,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = PlateauState(**state_dict["plateau"])
        self.interventions = state_dict["interventions"]
        self._last_step = state_dict["last_step"]
        self._pending = state_dict["pending"]
        self._schedules = state_dict["schedules"]
        self._cut = state_dict["cut"]
        self._watch.validates = state_dict["validates"]
        self._watch.logged = state_dict["logged"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == TrainerFn.FITTING:
            self._start_afresh()
            # Lightning asks all processes for the folder, to give them rank 0's.
            self._file = Path(trainer.log_dir or trainer.default_root_dir) / log.FILE

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # A fit that goes on from here will not see these values again.
        self._observe(trainer, self._watch.new_of_validation(trainer))
        self._observe(trainer, self._watch.new_of_epoch(trainer))
        checkpoint["callbacks"][self.state_key] = self.state_dict()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # With accumulated gradients, a checkpoint may lie between an intervention and the step that follows it.
        self._write(trainer, lambda: log.rewind(self._file, max(trainer.global_step, self._last_step + 1)))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.validation_starts(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._watch.validation_ends()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._observe(trainer, self._watch.new_of_validation(trainer))
        if self._watch.may_never_come(trainer):
            self._warn("missing", f"Babysitter does nothing up to now: {self._watch.complaint(trainer)}")
        self._watch.validation_was_seen()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only here, since the module's on_train_epoch_end, which may log the metric, runs after ours.
        self._observe(trainer, self._watch.new_of_epoch(trainer))
        if self._watch.epoch_ended and (self._watch.validated or not trainer.enable_validation):
            self._check_monitor(trainer)
        self._watch.epoch_starts(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.epoch_ends()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A fit that something stopped before its first validation may have had a metric to come.
        if self._watch.validated or not trainer.should_stop:
            self._check_monitor(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Here a change is safe: the schedulers of the last step and epoch have all stepped.
        schedulers = knobs.plateau_schedulers([config.scheduler for config in trainer.lr_scheduler_configs])
        looks = zip(schedulers, self._schedules, strict=False)
        self._cut = self._cut or any(knobs.has_cut(scheduler, before) for scheduler, before in looks)
        if self._pending is not None:
            self._yield_to_cut(trainer)
        if self._pending is not None:
            reason, self._pending = self._pending, None
            self._intervene(trainer, reason)
        self._schedules = [knobs.look(scheduler) for scheduler in schedulers]

    def _check_monitor(self, trainer: Trainer) -> None:
        if self._watch.is_missing(trainer):
            raise MonitorError(f"Babysitter {self._watch.complaint(trainer)}")

    def _observe(self, trainer: Trainer, value: float | None) -> None:
        if value is None:
            return
        self._yield_to_cut(trainer)
        best = self.state.best
        self.state, plateau = observe(self.plateau, self.state, value)
        if plateau:
            bar = "none" if best is None else f"{best:.4g}"
            checks = f"{self.plateau.patience + 1} checks" if self.plateau.patience else "the last check"
            self._pending = f"plateau: {self.monitor} is {value:.4g}, and {bar} has not been beaten in {checks}"

    def _yield_to_cut(self, trainer: Trainer) -> None:
        """Starts counting anew if a ReduceLROnPlateau has lowered lr; all processes go by what rank 0 saw."""
        if trainer.strategy.broadcast(self._cut):
            self.state, self._pending = intervened(self.plateau, self.state), None
        self._cut = False

    def _intervene(self, trainer: Trainer, reason: str) -> None:
        configs = trainer.lr_scheduler_configs
        before = _read(trainer)
        moved = False
        for optimizer in trainer.optimizers:
            schedulers = [config.scheduler for config in configs if config.scheduler.optimizer is optimizer]
            moves = self.policy.moves(knobs.peaks(optimizer, schedulers))
            if all(move.nothing for move in moves):
                continue
            moved = True
            knobs.apply(optimizer, schedulers, moves)
            for scheduler in knobs.plateau_schedulers(schedulers):
                scheduler.num_bad_epochs = 0
                scheduler.cooldown_counter = scheduler.cooldown
        after = _read(trainer)
        if not moved or after == before:
            return
        self.interventions += 1
        self._last_step = trainer.global_step
        record = log.Intervention(trainer.current_epoch, trainer.global_step, reason, before, after)
        self._write(trainer, lambda: log.append(record, self._file))
        if trainer.is_global_zero:
            log.show(record, trainer.loggers)

    def _write(self, trainer: Trainer, write: Callable[[], None]) -> None:
        if not trainer.is_global_zero:
            return
        try:
            write()
        except (OSError, ValueError) as error:
            self._warn("log", f"Babysitter can't write {self._file}, training goes on without this log: {error}")

    def _warn(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            rank_zero_warn(message)


def _read(trainer: Trainer) -> list[Knobs]:
    return [group for optimizer in trainer.optimizers for group in knobs.read(optimizer)]


def _check(name: str, value: object, wanted: str, fine: bool) -> None:
    if not fine:
        raise ConfigError(f"Babysitter needs {name} to be {wanted}, got {value!r}")


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _number(value: object, low: float, high: float, *, above: bool = False, below: bool = False) -> bool:
    """Whether the value lies between the two, or strictly ``above`` or ``below`` them."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    number = float(value)
    return low <= number <= high and not (above and number == low) and not (below and number == high)
