"""The callback that keeps a trial's record: its metrics, best value, checkpoints, and whether it diverged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor

from lightning_hp.errors import MonitorError, did_you_mean
from lightning_hp.fit.checkpoints import BEST, LAST
from lightning_hp.study.history import add_epoch
from lightning_hp.trial import Mode, is_better

# Training batches from one look at the loss to the next: a look waits for the device.
LOSS_CHECK_INTERVAL = 50


class Reporter(Checkpoint):
    """Watches one fit.

    Being a `Checkpoint`, it runs after all other callbacks, and Lightning shows it what modules log in their own
    ``on_train_epoch_end``.

    Args:
        monitor: the metric that is the objective.
        mode: ``min`` or ``max``.
        folder: where ``best.ckpt`` and ``last.ckpt`` go; None writes none.
        on_epoch: called with (epoch, metrics) at the end of each epoch.

    Attributes:
        best: best value of ``monitor`` so far, over all validations.
        epochs: epochs that were finished.
        metrics: per metric one value an epoch.
        diverged: why the fit counts as diverged, or None.
    """

    def __init__(
        self, monitor: str, mode: Mode, folder: Path | None, on_epoch: Callable[[int, Mapping[str, float]], None] | None = None
    ) -> None:
        self.monitor = monitor
        self.mode: Mode = mode
        self.folder = folder
        self.on_epoch = on_epoch
        self.best: float | None = None
        self.best_path: Path | None = None
        self.epochs = 0
        self.metrics: dict[str, list[float | None]] = {}
        self.diverged: str | None = None
        # Lightning goes on showing what was logged last: a value is new when it is another object than before.
        self._before_validation: dict[str, Any] = {}
        self._before_epoch: dict[str, Any] = {}
        self._validated = False
        self._judged_by_validation = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = False
        self._before_epoch = dict(trainer.callback_metrics)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % LOSS_CHECK_INTERVAL == 0 or trainer.is_last_batch:
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            if isinstance(loss, torch.Tensor) and not bool(torch.isfinite(loss).all()):
                self._stop_diverged(trainer, "loss", float(loss.detach().float().mean()))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._before_validation = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._validated = True
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and value is not self._before_validation.get(self.monitor):
            self._judged_by_validation = True
            self._judge(trainer, float(value))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = self._new_metrics(trainer)
        if self.monitor in metrics and not self._judged_by_validation:
            self._judge(trainer, metrics[self.monitor])
        add_epoch(self.metrics, self.epochs, metrics)
        self.epochs += 1
        if self.on_epoch is not None:
            self.on_epoch(self.epochs - 1, metrics)
        if self.diverged is not None:
            return
        if self._validated or not trainer.enable_validation:
            self.check_monitor()
        if self.folder is not None:
            trainer.save_checkpoint(self.folder / LAST)

    def check_monitor(self) -> None:
        """Raises a `MonitorError` if the monitored metric has not been logged up to now."""
        if self.monitor not in self.metrics and self.diverged is None:
            logged = sorted(self.metrics)
            listed = f"it logged {', '.join(logged)}" if logged else "it logged nothing that lasts an epoch"
            hint = did_you_mean(self.monitor, logged)
            raise MonitorError(f"monitor={self.monitor!r} is not logged by the module{hint}; {listed}")

    def _new_metrics(self, trainer: Trainer) -> dict[str, float]:
        """What the module logged in this epoch; of a metric logged by step and by epoch, the epoch's value."""
        logged = trainer.callback_metrics
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        monitors = [callback for callback in callbacks if isinstance(callback, LearningRateMonitor)]
        rates = {name for monitor in monitors for name in (*monitor.lrs, *monitor.last_momentum_values)}
        return {
            name: float(value)
            for name, value in logged.items()
            if value is not self._before_epoch.get(name)
            and name not in rates
            and not (name.endswith("_step") and f"{name.removesuffix('_step')}_epoch" in logged)
        }

    def _judge(self, trainer: Trainer, value: float) -> None:
        if not math.isfinite(value):
            self._stop_diverged(trainer, self.monitor, value)
        elif is_better(value, self.best, self.mode):
            self.best = value
            if self.folder is not None:
                self.best_path = self.folder / BEST
                trainer.save_checkpoint(self.best_path, weights_only=True)

    def _stop_diverged(self, trainer: Trainer, name: str, value: float) -> None:
        self.diverged = self.diverged or f"{name} is {value} in epoch {trainer.current_epoch}, step {trainer.global_step}"
        trainer.should_stop = True
