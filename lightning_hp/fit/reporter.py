"""The callback that keeps a trial's record: its metrics, best value, checkpoints, and whether it diverged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor
from lightning.pytorch.loops.utilities import _is_max_limit_reached
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_hp.babysit import Babysitter
from lightning_hp.babysit.hands import stop
from lightning_hp.babysit.replay import Replay
from lightning_hp.babysit.series import EVERY
from lightning_hp.babysit.watch import Watch, logged_since
from lightning_hp.errors import MonitorError, missing_metric
from lightning_hp.fit.checkpoints import BEST, LAST
from lightning_hp.fit.trainer import TrialTrainer
from lightning_hp.trial import Best, Mode, Rung, add_epoch, is_better

# Training batches from one look at the loss to the next: a look waits for the device. A babysitter has just looked then.
LOSS_CHECK_INTERVAL = 3 * EVERY


class Reporter(Checkpoint):
    """Watches one fit.

    Being a `Checkpoint`, it runs after all other callbacks, and Lightning shows it what modules log in their own
    ``on_train_epoch_end``. It is the last of the checkpoints too, so that what it saves at the end of an epoch holds what the
    user's have taken in of it. Its record is part of ``last.ckpt``, so that a fit that goes on from there has all of it.

    Where the user has no ModelCheckpoint, ``trainer.checkpoint_callback`` is this one, and has what is read of one there:
    ``monitor``, ``mode``, ``dirpath``, ``best_model_path``, ``best_model_score`` and ``last_model_path``.

    A fit whose loss or objective is not finite has diverged, unless a `Babysitter` in it still has an answer.

    Args:
        monitor: the metric that is the objective.
        mode: ``min`` or ``max``.
        folder: where ``best.ckpt`` and ``last.ckpt`` go; None writes none.
        identity: what tells this trial from any other; a checkpoint of another is not gone on from.
        on_epoch: called with (epoch, metrics) at the end of each epoch, and when a fit goes on, for each epoch it had.
        until: where the fit pauses; None if it goes on to its end.

    Attributes:
        least: epochs and steps that a fit makes whoever wants it to stop, in a fit whose loop does not know them.
        paused: whether the fit has been stopped at its rung, to go on later or not at all.
        best: best value of ``monitor`` so far, over all validations.
        at_best: where that was reached, and what else was logged there.
        epochs: epochs that were finished.
        metrics: per metric one value an epoch.
        pending: names that training steps have logged in this epoch, in a fit whose loop does not know them.
        diverged: why the fit counts as diverged, or None.
        error: what ended the fit; Lightning, tidying up after it, may fail once more over what it has left half done.
    """

    def __init__(
        self,
        monitor: str,
        mode: Mode,
        folder: Path | None,
        identity: str = "",
        on_epoch: Callable[[int, Mapping[str, float]], None] | None = None,
        until: Rung | None = None,
    ) -> None:
        self.monitor = monitor
        self.mode: Mode = mode
        self.folder = folder
        self.identity = identity
        self.on_epoch = on_epoch
        self.until = until
        self.least: tuple[int, int] | None = None
        self.paused = False
        self.best: float | None = None
        self.at_best: Best | None = None
        self.epochs = 0
        self.metrics: dict[str, list[float | None]] = {}
        self.diverged: str | None = None
        self.error: BaseException | None = None
        self.pending: set[str] = set()
        self._watch = Watch(monitor)
        # What a checkpoint of Lightning's forgets.
        self._plateaus: dict[int, float] = {}
        self._shown: dict[str, torch.Tensor] = {}
        self._stopping = False
        self._babysitters: list[Babysitter | Replay] = []
        self._seldom = ""

    @property
    def stopped(self) -> bool:
        """Whether the fit has been stopped here or by a babysitter, which no min_epochs puts off."""
        return self.paused or self.diverged is not None or any(each.stopped for each in self._babysitters)

    @property
    def best_path(self) -> Path | None:
        """The weights of the best epoch, if they were written."""
        return self.folder / BEST if self.folder is not None and self.best is not None else None

    @property
    def last_path(self) -> Path | None:
        """All that the fit needs to go on, as it was after the last epoch, if checkpoints are written."""
        return self.folder / LAST if self.folder is not None else None

    @property
    def dirpath(self) -> str | None:
        """The folder of the checkpoints, as a ModelCheckpoint names it."""
        return str(self.folder) if self.folder is not None else None

    @property
    def best_model_path(self) -> str:
        """The same as ``best_path``; empty where there is none, as in a ModelCheckpoint."""
        return str(self.best_path or "")

    @property
    def best_model_score(self) -> torch.Tensor | None:
        """The same as ``best``."""
        return torch.tensor(self.best) if self.best is not None else None

    @property
    def last_model_path(self) -> str:
        """The same as ``last_path``, once an epoch has ended."""
        return str(self.last_path or "") if self.epochs else ""

    def state_dict(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "best": self.best,
            "at_best": asdict(self.at_best) if self.at_best is not None else None,
            "epochs": self.epochs,
            "metrics": self.metrics,
            "validates": self._watch.validates,
            "plateaus": self._plateaus,
            # A device is waited for only where they are written.
            "shown": {name: value.detach().cpu() for name, value in self._shown.items()},
            "stopping": self._stopping,
            # What other callbacks name files by, such as Lightning's ModelCheckpoint.
            "folder": str(self.folder.parent) if self.folder is not None else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
        # Checkpoints of older versions do not say it.
        at_best = state_dict.get("at_best")
        self.at_best = Best(**at_best) if at_best is not None else None
        self.epochs = state_dict["epochs"]
        self.metrics = state_dict["metrics"]
        self._watch.validates = state_dict["validates"]
        self._plateaus = state_dict["plateaus"]
        self._shown = state_dict["shown"]
        self._stopping = state_dict["stopping"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self._babysitters = [callback for callback in callbacks if isinstance(callback, (Babysitter, Replay))]
        # Lightning has put checkpoints of the module's own configure_callbacks behind those of the Trainer.
        trainer.callbacks = [*(callback for callback in callbacks if callback is not self), self]  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer, TrialTrainer):
            trainer.objects.begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seldom = _validates_seldom(trainer)
        # Schedulers and other callbacks look at what was logged last, perhaps before the fit was interrupted.
        trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in self._shown.items()})
        # A callback has asked for the end, which min_epochs put off.
        trainer.should_stop = trainer.should_stop or self._stopping
        # Lightning steps plateau schedulers after this callback has saved, so those in the checkpoint lag by that step.
        for index, value in self._plateaus.items():
            pl_module.lr_scheduler_step(trainer.lr_scheduler_configs[index].scheduler, value)
        for epoch in range(self.epochs):
            row = {name: values[epoch] for name, values in self.metrics.items()}
            self._report(epoch, {name: value for name, value in row.items() if value is not None})

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.epoch_starts(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.looks_at(trainer, batch_idx):
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            value = float(loss.detach().float().mean()) if isinstance(loss, torch.Tensor) else 0.0
            infinite = not math.isfinite(value)
            if trainer.strategy.reduce_boolean_decision(infinite, all=False):
                # It may be another process whose loss is not finite.
                self._stop_diverged(trainer, "loss", value if infinite else math.nan)

    @staticmethod
    def looks_at(trainer: Trainer, batch_idx: int) -> bool:
        """Whether the loss of a batch is looked at."""
        return (batch_idx + 1) % LOSS_CHECK_INTERVAL == 0 or trainer.is_last_batch

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.validation_starts(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        first = not self._watch.validated
        self._watch.validation_ends()
        value = self._watch.new_of_validation(trainer)
        if value is not None:
            self._judge(trainer, value, self._watch.before_validation)
        elif first and not trainer.is_last_batch and not self._may_come(trainer):
            self.check_monitor(trainer.callback_metrics)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        shown = trainer.callback_metrics
        metrics = self._new_metrics(trainer, self._watch.before_epoch)
        self._watch.epoch_ends()
        value = self._watch.new_of_epoch(trainer)
        if value is not None:
            self._judge(trainer, value, self._watch.before_epoch)
        self._follow_babysitters()
        add_epoch(self.metrics, self.epochs, metrics)
        self.epochs += 1
        self._report(self.epochs - 1, metrics)
        if self.diverged is not None:
            return
        if self._watch.validated or not trainer.enable_validation:
            self.check_monitor(self.metrics)
        path = self.last_path
        if path is not None:
            self._plateaus = _coming_plateau_steps(trainer)
            self._stopping = trainer.should_stop
            self._shown = dict(shown)
            trainer.save_checkpoint(path)
            self._pause(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # What has come too late to be answered counts; a fit that has paused may go on.
        if not self.paused:
            self._follow_babysitters()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.error = exception
        # A checkpoint of the user's that keeps the best by the objective looks for it first, and each trial would fail over it.
        missed = isinstance(exception, MisconfigurationException) and f"monitor={self.monitor!r}" in str(exception)
        if missed and self._watch.validated:
            try:
                self.check_monitor(self._new_metrics(trainer, self._watch.before_epoch))
            except MonitorError as error:
                self.error = error

    def at_rung(self, steps: int) -> bool:
        """Whether the fit, which has made so many steps, has come to its rung with a value to be judged by."""
        return self.until is not None and self.best is not None and self.until.reached(self.epochs, steps)

    def plateaus_have_stepped(self) -> None:
        """Tells that a checkpoint from now on has the plateau schedulers as they are after this epoch."""
        self._plateaus = {}

    def check_monitor(self, logged: Mapping[str, Any]) -> None:
        """Raises a `MonitorError` if the monitored metric has not come up to now, among what was logged."""
        if self.best is None and self.diverged is None and not self._watch.logged:
            validated, seldom = self._watch.validated, self._seldom
            raise MonitorError(missing_metric(self.monitor, logged, validated=validated, seldom=seldom))

    def _may_come(self, trainer: Trainer) -> bool:
        """Whether the metric may still be logged in an epoch whose first validation has not done so."""
        pending = self.pending | {key.rpartition(".")[2] for key in trainer.fit_loop.epoch_loop._results}
        in_training = self.monitor.removesuffix("_epoch") in pending
        return in_training or is_overridden("on_train_epoch_end", trainer.lightning_module)

    def _new_metrics(self, trainer: Trainer, before: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """What the module has logged since; of a metric logged by step and by epoch, the epoch's value."""
        logged = logged_since(before, trainer.callback_metrics)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        monitors = [callback for callback in callbacks if isinstance(callback, LearningRateMonitor)]
        rates = {name for monitor in monitors for name in (*monitor.lrs, *monitor.last_momentum_values)}
        steps = {name for name in logged if name.endswith("_step") and f"{name.removesuffix('_step')}_epoch" in logged}
        return {name: float(value) for name, value in logged.items() if name not in rates | (steps - {self.monitor})}

    def _judge(self, trainer: Trainer, value: float, before: Mapping[str, torch.Tensor]) -> None:
        """Takes in a value of the objective, which is one of the metrics that were logged since others were."""
        if not math.isfinite(value):
            self._stop_diverged(trainer, self.monitor, value)
        elif self.diverged is None and is_better(value, self.best, self.mode):
            self.best, self.at_best = value, Best(self.epochs, self._new_metrics(trainer, before))
            path = self.best_path
            if path is not None:
                trainer.save_checkpoint(path)

    def _stop_diverged(self, trainer: Trainer, name: str, value: float) -> None:
        self._follow_babysitters()
        if any(each.answers for each in self._babysitters):
            return
        self.diverged = self.diverged or f"{name} is {value} in epoch {trainer.current_epoch}, step {trainer.global_step}"
        stop(trainer)

    def _follow_babysitters(self) -> None:
        reasons = [each.diverged for each in self._babysitters if each.diverged is not None]
        self.diverged = self.diverged or next(iter(reasons), None)

    def _pause(self, trainer: Trainer) -> None:
        """Stops a fit that has come to its rung and would go on by itself, once what it goes on from has been written."""
        if self.until is None:
            return
        pausing = self.at_rung(trainer.global_step) and not self._is_over(trainer)
        if trainer.strategy.reduce_boolean_decision(pausing, all=True):
            self.paused = True
            stop(trainer)

    def _is_over(self, trainer: Trainer) -> bool:
        """Whether this epoch was the fit's last."""
        loop = trainer.fit_loop
        epochs, steps = loop.epoch_progress.current.processed, loop.epoch_loop.global_step  # type: ignore[attr-defined]
        least = self.least or (loop.min_epochs or 0, loop.epoch_loop.min_steps or 0)
        return at_limit(trainer) or (trainer.should_stop and epochs >= least[0] and steps >= least[1])

    def _report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if self.on_epoch is not None:
            self.on_epoch(epoch, metrics)


def at_limit(trainer: Trainer) -> bool:
    """Whether a fit has made all its steps, or with this epoch its last. (Lightning's ``done`` counts it as completed.)"""
    loop = trainer.fit_loop
    epochs = loop.epoch_progress.current.processed  # type: ignore[attr-defined]
    most = -1 if loop.max_epochs is None else loop.max_epochs
    return _is_max_limit_reached(loop.epoch_loop.global_step, loop.max_steps) or _is_max_limit_reached(epochs, most)


def _validates_seldom(trainer: Trainer) -> str:
    """The argument by which a Trainer does not validate in each epoch; empty where it does, or never does."""
    epochs = trainer.check_val_every_n_epoch
    if not trainer.enable_validation or epochs == 1:
        return ""
    if epochs is not None:
        return f"check_val_every_n_epoch={epochs}"
    # Lightning keeps an interval of time elsewhere, in seconds.
    seconds = getattr(trainer, "_val_check_time_interval", None)
    return f"val_check_interval={seconds:g} s" if seconds is not None else f"val_check_interval={trainer.val_check_interval!r}"


def _coming_plateau_steps(trainer: Trainer) -> dict[int, float]:
    """The plateau schedulers, by index, that Lightning will step at the end of this epoch, and with which value."""
    steps = {}
    for index, config in enumerate(trainer.lr_scheduler_configs):
        value = trainer.callback_metrics.get(config.monitor or "")
        due = config.interval == "epoch" and (trainer.current_epoch + 1) % config.frequency == 0
        if config.reduce_on_plateau and due and value is not None:
            steps[index] = float(value)
    return steps
