"""The Babysitter: a Lightning callback that watches a metric and acts on plateaus."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from lightning_hp.babysit import knobs, log
from lightning_hp.babysit.policy import Reduce
from lightning_hp.babysit.signals import Plateau, PlateauState, intervened, observe
from lightning_hp.errors import ConfigError, MonitorError, did_you_mean
from lightning_hp.trial import Mode


class Babysitter(Callback):
    """Lowers lr and raises momentum when a metric stops improving.

    Works with SGD, RMSprop and the Adam family (whose beta1 is the momentum), and with any torch schedule, which goes on from
    the new value. Beside a ReduceLROnPlateau the two share one patience: whichever acts first, the other starts counting anew.
    Each intervention goes to babysit.jsonl in the logger's folder, and to TensorBoard as curves and a sentence.

    Args:
        monitor: the metric to watch, as logged by the module.
        mode: whether it shall fall (``"min"``) or rise (``"max"``).
        patience: checks without improvement that are borne. A check is a validation, or an epoch for a training metric.
        min_delta: least change that counts as an improvement, in the metric's own unit.
        cooldown: checks after an intervention that do not count.
        factor: lr becomes lr * factor.
        min_lr: lr is never lowered below.
        momentum_factor: 1 - momentum becomes that times this, one step along the reverse-log scale: 0.5 takes 0.9 to 0.95,
            then to 0.975. 1 leaves momentum alone.
        max_momentum: momentum is never raised above.

    Raises:
        ConfigError: an argument is out of its range.
        MonitorError: in the fit, if the module never logs ``monitor``.

    >>> Babysitter("val_acc", mode="max", patience=3).state_key
    "Babysitter{'monitor': 'val_acc', 'mode': 'max'}"
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: Mode = "min",
        patience: int = 5,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        factor: float = 0.5,
        min_lr: float = 0.0,
        momentum_factor: float = 0.5,
        max_momentum: float = 0.99,
    ) -> None:
        _check("monitor", monitor, "the name of a logged metric", isinstance(monitor, str) and monitor != "")
        _check("mode", mode, "'min' or 'max'", mode in ("min", "max"))
        _check("patience", patience, "a whole number of at least 0", _whole(patience))
        _check("min_delta", min_delta, "a number of at least 0", _number(min_delta, 0, math.inf))
        _check("cooldown", cooldown, "a whole number of at least 0", _whole(cooldown))
        _check("factor", factor, "a number above 0 and below 1", _number(factor, 0, 1) and 0 < factor < 1)
        _check("min_lr", min_lr, "a number of at least 0", _number(min_lr, 0, math.inf))
        up_to_1 = _number(momentum_factor, 0, 1) and momentum_factor > 0
        _check("momentum_factor", momentum_factor, "a number above 0, at most 1", up_to_1)
        _check("max_momentum", max_momentum, "a number from 0 to below 1", _number(max_momentum, 0, 1) and max_momentum < 1)
        self.monitor = monitor
        self.plateau = Plateau(mode, patience, min_delta, cooldown)
        self.policy = Reduce(factor, min_lr, momentum_factor, max_momentum)
        self.state = PlateauState()
        self.interventions = 0
        self._pending: str | None = None
        # A training metric is looked at after the module's on_train_epoch_end, which may log it and runs after ours.
        self._epoch_to_look_at = False
        self._schedules: list[dict[str, Any]] = []
        # Lightning goes on showing what was logged last: a value is new when it is another object than before.
        self._before: Any = None
        self._before_validation: Any = None
        self._validates = False
        self._validated = False

    @property
    def state_key(self) -> str:
        return self._generate_state_key(monitor=self.monitor, mode=self.plateau.mode)

    def state_dict(self) -> dict[str, Any]:
        return {
            "plateau": asdict(self.state),
            "interventions": self.interventions,
            "pending": self._pending,
            "schedules": self._schedules,
            "validates": self._validates,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = PlateauState(**state_dict["plateau"])
        self.interventions = state_dict["interventions"]
        self._pending = state_dict["pending"]
        self._schedules = state_dict["schedules"]
        self._validates = state_dict["validates"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # A fit that goes on from here will not see this epoch's value again.
        self._look_at_epoch(trainer)
        checkpoint["callbacks"][self.state_key] = self.state_dict()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before_validation = trainer.callback_metrics.get(self.monitor)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._validated = True
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and value is not self._before_validation:
            self._validates = True
            self._observe(float(value))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_to_look_at = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._epoch_to_look_at and (self._validated or not trainer.enable_validation):
            self._check_monitor(trainer)
        self._look_at_epoch(trainer)
        self._before = trainer.callback_metrics.get(self.monitor)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Here a change is safe: the schedulers of the last step and epoch have all stepped.
        schedulers = knobs.plateau_schedulers([config.scheduler for config in trainer.lr_scheduler_configs])
        looks = zip(schedulers, self._schedules, strict=False)
        if any(knobs.has_cut(scheduler, before) for scheduler, before in looks):
            self.state, self._pending = intervened(self.plateau, self.state), None
        if self._pending is not None:
            reason, self._pending = self._pending, None
            self._intervene(trainer, reason)
        self._schedules = [knobs.look(scheduler) for scheduler in schedulers]

    def _look_at_epoch(self, trainer: Trainer) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if self._epoch_to_look_at and not self._validates and value is not None and value is not self._before:
            self._observe(float(value))
        self._epoch_to_look_at = False

    def _check_monitor(self, trainer: Trainer) -> None:
        if self.monitor not in trainer.callback_metrics:
            logged = sorted(trainer.callback_metrics)
            raise MonitorError(
                f"Babysitter monitor={self.monitor!r} is not logged by the module{did_you_mean(self.monitor, logged)}; "
                f"it logged {', '.join(logged) or 'nothing'}"
            )

    def _observe(self, value: float) -> None:
        best = self.state.best
        self.state, plateau = observe(self.plateau, self.state, value)
        if plateau:
            bar = "none" if best is None else f"{best:.4g}"
            checks = f"{self.plateau.patience + 1} checks" if self.plateau.patience else "the last check"
            self._pending = f"plateau: {self.monitor} is {value:.4g}, and {bar} has not been beaten in {checks}"

    def _intervene(self, trainer: Trainer, reason: str) -> None:
        before = [group for optimizer in trainer.optimizers for group in knobs.read(optimizer)]
        if all(move.nothing for move in self.policy.moves(before)):
            return
        for optimizer in trainer.optimizers:
            configs = trainer.lr_scheduler_configs
            schedulers = [config.scheduler for config in configs if config.scheduler.optimizer is optimizer]
            knobs.apply(optimizer, schedulers, self.policy.moves(knobs.read(optimizer)), self.policy.max_momentum)
            for scheduler in knobs.plateau_schedulers(schedulers):
                scheduler.num_bad_epochs = 0
                scheduler.cooldown_counter = scheduler.cooldown
        self.interventions += 1
        after = [group for optimizer in trainer.optimizers for group in knobs.read(optimizer)]
        record = log.Intervention(trainer.current_epoch, trainer.global_step, reason, before, after)
        if trainer.is_global_zero:
            log.write(record, Path(trainer.log_dir or trainer.default_root_dir), trainer.loggers)


def _check(name: str, value: object, wanted: str, fine: bool) -> None:
    if not fine:
        raise ConfigError(f"Babysitter needs {name} to be {wanted}, got {value!r}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
