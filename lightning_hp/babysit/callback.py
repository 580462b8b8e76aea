"""The Babysitter: a Lightning callback that watches a fit, and acts when it stalls or diverges."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from lightning_hp.babysit import arguments, hands, settings
from lightning_hp.babysit.care import Care
from lightning_hp.babysit.control import Control, intervenes
from lightning_hp.babysit.picture import picture
from lightning_hp.babysit.policies import Policy, named
from lightning_hp.babysit.replay import Replay
from lightning_hp.babysit.request import Bounds
from lightning_hp.babysit.schedule import Schedule, schedule
from lightning_hp.babysit.series import gradient_norm
from lightning_hp.babysit.signals import Plateau, Signal
from lightning_hp.babysit.wheel import Wheel
from lightning_hp.trial import Mode


class Babysitter(Callback):
    """Lowers lr when a metric stops improving, raises momentum if wanted, and goes back to a good state when training diverges.

    Works with SGD, RMSprop and the Adam family (whose beta1 is the momentum), and with any schedule, which goes on from
    the new value. Beside a ReduceLROnPlateau the two share one patience: whichever acts first, the other starts counting anew.
    Lightning's StochasticWeightAveraging goes to its own swa_lrs when it starts, whatever was lowered before; from then on it
    is lowered like other schedules. All that it sees and does goes to babysit.jsonl in the logger's folder, each intervention
    also to TensorBoard as curves and a sentence.

    Going back restores weights, buffers, optimizers, schedules and loss scale; steps, epochs and data run on. A fit that
    diverges whatever is done ends when its interventions are used up.

    Args:
        monitor: the metric to watch, as logged by the module. None is the search's, and ``"val_loss"`` without a search.
        mode: whether it shall fall (``"min"``) or rise (``"max"``). None is the search's for the search's metric, and
            ``"min"`` for any other.
        patience: checks without improvement that are borne. A check is a validation, or an epoch for a training metric.
        min_delta: least change that counts as an improvement, in the metric's own unit.
        cooldown: checks after an intervention that do not count.
        factor: lr becomes lr * factor.
        min_lr: lr is never lowered below.
        momentum_factor: 1 - momentum becomes that times this, one step along the reverse-log scale: 0.5 takes 0.9 to 0.95,
            then to 0.975. 1 leaves momentum alone: on the tasks in the README to move it is worth nothing that shows. The step
            that SGD settles at is lr / (1 - momentum), so that a rise by 0.5 would undo a fall of lr by 0.5.
        max_momentum: momentum is never raised above, at no point of a schedule's cycle; a cycle that goes there by itself is
            left alone.
        policy: what is done about what is seen: a name of `POLICIES`, or your own `Policy`.
        signals: what it is told by, your own `Signal` among them; None is what the policy wants.
        max_interventions: how often the policy may change the fit; with none left it can only stop it.

    Attributes:
        care: the fit that it looks after, from `setup` on.

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
        momentum_factor: float = 1.0,
        max_momentum: float = 0.99,
        policy: str | Policy = "reduce",
        signals: Sequence[Signal] | None = None,
        max_interventions: int = 20,
    ) -> None:
        arguments.check({name: value for name, value in locals().items() if name != "self"})
        self._asked: dict[str, Any] = {"monitor": monitor, "mode": mode, "policy": policy, "signals": signals}
        bounds = {"factor": factor, "min_lr": min_lr, "momentum_factor": momentum_factor, "max_momentum": max_momentum}
        self._bounds = {name: float(value) for name, value in bounds.items()}
        self.max_interventions = int(max_interventions)
        self.plateau = Plateau(mode or "min", int(patience), float(min_delta), int(cooldown))
        self.policy = named(policy, **self._bounds) if isinstance(policy, str) else policy
        self.monitor = monitor or "val_loss"
        self._start_afresh()

    def for_search(self, monitor: str, mode: Mode) -> Babysitter:
        """A fresh copy for one trial of a search, which watches the search's metric unless it was given its own.

        >>> Babysitter(patience=3).for_search("val_acc", "max").state_key
        "Babysitter{'monitor': 'val_acc', 'mode': 'max'}"
        """
        settings.require("Babysitter", "mode", mode, settings.MODE)
        own = copy.copy(self)
        own.monitor = self._asked["monitor"] or monitor
        if self._asked["mode"] is None and own.monitor == monitor:
            own.plateau = replace(self.plateau, mode=mode)
        own._start_afresh()
        return own

    def describe(self) -> dict[str, Any]:
        """The arguments as plain values, but for a policy and signals of your own: ``Babysitter(**describe())`` is the same.

        >>> Babysitter(patience=3).describe()["patience"]
        3
        """
        counts = {key: getattr(self.plateau, key) for key in ("patience", "min_delta", "cooldown")}
        first, last = ({key: self._asked[key] for key in keys} for keys in (("monitor", "mode"), ("policy", "signals")))
        return first | counts | self._bounds | last | {"max_interventions": self.max_interventions}

    @staticmethod
    def replay(path: str | Path) -> Replay:
        """A callback that makes the moves in a babysit.jsonl at their places, in a fit that nobody watches.

        Args:
            path: the file, or the folder that it lies in.

        Raises:
            ConfigError: there is no such file, or it is broken; in the fit, if it is not one like the fit that was logged.
        """
        return Replay(path)

    @staticmethod
    def schedule(path: str | Path, discarded: bool = False) -> Schedule:
        """lr and momentum over the steps of a babysat fit, for a LambdaLR or a table: see `lightning_hp.babysit.schedule`."""
        return schedule(path, discarded)

    @staticmethod
    def picture(path: str | Path, to: str | Path | None = None) -> Any:
        """Draws a babysat fit and all interventions into a file: see `lightning_hp.babysit.picture`."""
        return picture(path, to)

    def _start_afresh(self, folder: Path | None = None, rank: int = 0) -> None:
        # Lightning asks for it at each hook.
        self._key = self._generate_state_key(monitor=self.monitor, mode=self.plateau.mode)
        signals = self._asked["signals"]
        signals = self.policy.signals(self.plateau) if signals is None else signals
        control = Control(signals, self.policy, self.plateau.mode, self.max_interventions)
        self.care = Care(control, self.monitor, self._key, folder, rank)
        self._warned = False

    @property
    def interventions(self) -> int:
        """Changes that the policy has made to this fit."""
        return self.care.control.interventions

    @property
    def stopped(self) -> bool:
        """Whether it has stopped the fit."""
        return self.care.hands.stopped

    @property
    def diverged(self) -> str | None:
        """Why the fit has ended as diverged, or None."""
        return self.care.diverged

    @property
    def answers(self) -> bool:
        """Whether values that are not finite need no other to end the fit: it is gone back from them, or has been."""
        return self.care.control.answers or self.care.went_back

    @property
    def state_key(self) -> str:
        return self._key

    def state_dict(self) -> dict[str, Any]:
        return self.care.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.care.load_state_dict(state_dict)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == TrainerFn.FITTING:
            # Lightning asks all processes for the folder, to give them rank 0's.
            folder = Path(trainer.log_dir or trainer.default_root_dir)
            self._start_afresh(folder, trainer.global_rank)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        care = self.care
        # A fit that goes on from here will not see these values again.
        care.observe(trainer, care.watch.new_of_validation(trainer))
        care.observe(trainer, care.watch.new_of_epoch(trainer))
        care.losses.fetch(trainer)
        checkpoint["callbacks"][self.state_key] = self.state_dict()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        care = self.care
        for line in care.beside.begin(trainer, care.control.signals, self.plateau):
            rank_zero_warn(f"Babysitter: {line}")
        care.losses.begin(trainer)
        hands.resume(trainer)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        babysitters = [each for each in callbacks if isinstance(each, Babysitter)]
        again = care.logbook.begin(trainer, shares=len(babysitters) > 1)
        if self is babysitters[0]:
            # Of several in a fit one does what a person asks for.
            bounds = Bounds(self._bounds["min_lr"], self._bounds["max_momentum"])
            care.wheel = Wheel(trainer, care.folder, care.hands, care.logbook, bounds, self.state_key, again)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.care.watch.validation_starts(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.care.watch.validation_ends()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        care = self.care
        # What is decided at a check, a snapshot above all, shall know of all losses before it.
        care.listen(trainer)
        care.observe(trainer, care.watch.new_of_validation(trainer))
        if care.watch.may_never_come(trainer) and not self._warned:
            self._warned = True
            rank_zero_warn(f"Babysitter does nothing up to now: {care.watch.complaint(trainer)}")
        care.watch.validation_was_seen()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        care = self.care
        # Only here, since the module's on_train_epoch_end, which may log the metric, runs after ours.
        care.observe(trainer, care.watch.new_of_epoch(trainer))
        care.quiet_until = -math.inf
        care.losses.quiet_until = 0
        care.went_back = False
        if care.watch.epoch_ended and (care.watch.validated or not trainer.enable_validation):
            care.watch.require(trainer)
        care.watch.epoch_starts(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.care.watch.epoch_ends()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        care = self.care
        # A fit that something stopped before its first validation may have had a metric to come.
        if care.watch.validated or not trainer.should_stop:
            care.watch.require(trainer)
        care.observe(trainer, care.watch.new_of_epoch(trainer))  # The last epoch's, which no other follows.
        if care.control.answers:
            # There is no next batch to answer it before.
            found = next(each.reason for each in care.control.findings if each.kind == "divergence")
            care.diverged = care.diverged or found
        care.logbook.end(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.care.logbook.flush()
        self.care.beside.end()
        if self.care.wheel is not None:
            self.care.wheel.close(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, TrainerFn.FITTING)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        care = self.care
        # Here a change is safe: the schedulers of the last step and epoch have all stepped.
        if time.monotonic() < care.quiet_until:
            return
        if care.is_due(batch_idx):
            care.act(trainer)
        if care.wheel is not None:
            done = care.wheel.before_batch(trainer, batch_idx)
            if any(map(intervenes, done)):
                care.changed(trainer, done, counts=False)
                care.patience.look()
        care.skipping = care.hands.skips(trainer)
        if not (care.skipping or care.is_due()):
            care.quiet_until = math.inf if care.wheel is None else care.wheel.quiet_until

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        care = self.care
        care.logbook.before_step(trainer, optimizer)
        if care.norms.due and optimizer is trainer.optimizers[0]:
            care.norms.add(trainer.global_step, gradient_norm(trainer, optimizer))
        if care.skipping:
            care.hands.before_step(trainer, optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        care, losses = self.care, self.care.losses
        losses.waiting.append(outputs.get("loss") if isinstance(outputs, dict) else outputs)
        if care.skipping:
            care.hands.after_backward(trainer)
        if batch_idx >= losses.quiet_until and losses.are_heard(trainer, batch_idx):
            care.listen(trainer)
