"""How far one fit is: a bar over all of its batches with the time left in a terminal; elsewhere, a line per epoch."""

from __future__ import annotations

import math
import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from lightning_hp.tracking.progress import bars


class FitProgress(Callback):
    """Shows a fit while it runs.

    Args:
        monitor: the metric that is told.
        console: where to; standard error by default.
    """

    def __init__(self, monitor: str, console: Console | None = None) -> None:
        self._monitor = monitor
        self._console = console or Console(file=sys.stderr)
        self._bars = bars(self._console, shown=self._console.is_terminal)
        self._epochs = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self._epochs = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
            self._bars.add_task(
                "epoch 1" + self._epochs, total=_batches(trainer), completed=_done(trainer), before=_done(trainer)
            )
            self._bars.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for task in self._bars.task_ids:
            self._bars.update(task, completed=_done(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = trainer.callback_metrics.get(self._monitor)
        shown = "" if value is None else f" {self._monitor} {float(value):.4g}"
        told = f"epoch {trainer.current_epoch + 1}{self._epochs}"
        for task in self._bars.task_ids:
            self._bars.update(task, description=f"{told}{shown}")
        if self._bars.task_ids and not self._console.is_terminal:
            self._console.print(f"{told}:{shown or ' done'}", markup=False, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bars.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._bars.stop()


def _done(trainer: Trainer) -> int:
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1


def _batches(trainer: Trainer) -> float | None:
    """How many batches the fit has in all; None if that is open."""
    epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else math.inf
    steps = trainer.max_steps * trainer.accumulate_grad_batches if trainer.max_steps >= 0 else math.inf
    least = min(epochs * trainer.num_training_batches, steps)
    return least if math.isfinite(least) else None
