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

from lightning_hp.babysit import arguments, early, hands, log, settings
from lightning_hp.babysit.actions import Action, Knobs, Rollback, Stop
from lightning_hp.babysit.control import Control, intervenes
from lightning_hp.babysit.logbook import Logbook
from lightning_hp.babysit.patience import SharedPatience
from lightning_hp.babysit.picture import picture
from lightning_hp.babysit.policies import Decision, Policy, named
from lightning_hp.babysit.replay import Replay
from lightning_hp.babysit.request import Bounds
from lightning_hp.babysit.schedule import Schedule, schedule
from lightning_hp.babysit.series import Losses, Norms, gradient_norm
from lightning_hp.babysit.signals import Plateau, Signal
from lightning_hp.babysit.watch import Watch, checks_left
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
        diverged: why the fit has ended as diverged, or None.
        changed_now: whether the fit was changed before the present batch.
        norms: the gradient's, as sampled.

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

    def _start_afresh(self) -> None:
        signals = self._asked["signals"]
        signals = self.policy.signals(self.plateau) if signals is None else signals
        self.control = Control(signals, self.policy, self.plateau.mode, self.max_interventions)
        self.diverged: str | None = None
        self.hands = hands.Hands(Path())
        # Lightning asks for it at each hook.
        self._key = self._generate_state_key(monitor=self.monitor, mode=self.plateau.mode)
        self._losses, self.norms = Losses(), Norms(self.control.listens_to("gradient_norm"))
        self._patience = SharedPatience()
        self._watch, self._beside = Watch(self.monitor), early.Beside(self.monitor)
        self._folder, self._logbook = Path(), Logbook(None)
        # A metric of the whole epoch has in it what was gone back from.
        self._went_back = False
        # By the clock; till then there is nothing to do before a batch, so that most come to no more than a look at it.
        self._quiet_until = -math.inf
        # Since the last batch.
        self._checked = self.changed_now = False
        self._warned = self._skipping = False
        self._wheel: Wheel | None = None

    @property
    def interventions(self) -> int:
        """Changes that the policy has made to this fit."""
        return self.control.interventions

    @property
    def stopped(self) -> bool:
        """Whether it has stopped the fit."""
        return self.hands.stopped

    @property
    def answers(self) -> bool:
        """Whether values that are not finite need no other to end the fit: it is gone back from them, or has been."""
        return self.control.answers or self._went_back

    @property
    def state_key(self) -> str:
        return self._key

    @property
    def _parts(self) -> dict[str, Any]:
        """What has a state of its own."""
        names = ("control", "hands", "losses", "norms", "patience", "logbook", "watch")
        own = (self.control, self.hands, self._losses, self.norms, self._patience, self._logbook, self._watch)
        return dict(zip(names, own, strict=True))

    def state_dict(self) -> dict[str, Any]:
        own = {"went_back": self._went_back, "diverged": self.diverged, "checked": self._checked}
        return {name: part.state_dict() for name, part in self._parts.items()} | own

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state_dict[name])
        self._went_back, self.diverged, self._checked = (state_dict[name] for name in ("went_back", "diverged", "checked"))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == TrainerFn.FITTING:
            self._start_afresh()
            # Lightning asks all processes for the folder, to give them rank 0's.
            folder = Path(trainer.log_dir or trainer.default_root_dir)
            self._folder, self._logbook = folder, Logbook(folder / log.FILE)
            self.hands = hands.Hands(folder, trainer.global_rank)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # A fit that goes on from here will not see these values again.
        self._observe(trainer, self._watch.new_of_validation(trainer))
        self._observe(trainer, self._watch.new_of_epoch(trainer))
        self._losses.fetch(trainer)
        checkpoint["callbacks"][self.state_key] = self.state_dict()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for line in self._beside.begin(trainer, self.control.signals, self.plateau):
            rank_zero_warn(f"Babysitter: {line}")
        self._losses.begin(trainer)
        hands.resume(trainer)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        babysitters = [each for each in callbacks if isinstance(each, Babysitter)]
        again = self._logbook.begin(trainer, shares=len(babysitters) > 1)
        if self is babysitters[0]:
            # Of several in a fit one does what a person asks for.
            bounds = Bounds(self._bounds["min_lr"], self._bounds["max_momentum"])
            self._wheel = Wheel(trainer, self._folder, self.hands, self._logbook, bounds, self.state_key, again)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.validation_starts(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._watch.validation_ends()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # What is decided at a check, a snapshot above all, shall know of all losses before it.
        self._listen(trainer)
        self._observe(trainer, self._watch.new_of_validation(trainer))
        if self._watch.may_never_come(trainer) and not self._warned:
            self._warned = True
            rank_zero_warn(f"Babysitter does nothing up to now: {self._watch.complaint(trainer)}")
        self._watch.validation_was_seen()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only here, since the module's on_train_epoch_end, which may log the metric, runs after ours.
        self._observe(trainer, self._watch.new_of_epoch(trainer))
        self._quiet_until = -math.inf
        self._losses.quiet_until = 0
        self._went_back = False
        if self._watch.epoch_ended and (self._watch.validated or not trainer.enable_validation):
            self._watch.require(trainer)
        self._watch.epoch_starts(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.epoch_ends()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A fit that something stopped before its first validation may have had a metric to come.
        if self._watch.validated or not trainer.should_stop:
            self._watch.require(trainer)
        self._observe(trainer, self._watch.new_of_epoch(trainer))  # The last epoch's, which no other follows.
        if self.control.answers:
            # There is no next batch to answer it before.
            self.diverged = self.diverged or next(each.reason for each in self.control.findings if each.kind == "divergence")
        self._logbook.end(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._logbook.flush()
        self._beside.end()
        if self._wheel is not None:
            self._wheel.close(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, TrainerFn.FITTING)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Here a change is safe: the schedulers of the last step and epoch have all stepped.
        if time.monotonic() < self._quiet_until:
            return
        if self.is_due(batch_idx):
            self._act(trainer)
        if self._wheel is not None:
            done = self._wheel.before_batch(trainer, batch_idx)
            if any(map(intervenes, done)):
                self._changed(trainer, done, counts=False)
                self._patience.look()
        self._skipping = self.hands.skips(trainer)
        if not (self._skipping or self.is_due()):
            self._quiet_until = math.inf if self._wheel is None else self._wheel.quiet_until

    def _act(self, trainer: Trainer) -> None:
        """Writes down a check, and does what the policy wants, if there is anything new to decide on."""
        if self._checked:
            self._logbook.before_batch(trainer)
            self._checked = False
        self._patience.before_batch(trainer)
        if self.control.due:
            self._yield_to_cut(trainer)
        if self.control.due:
            self._decide(trainer)
        self._patience.look()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._logbook.before_step(trainer, optimizer)
        if self.norms.due and optimizer is trainer.optimizers[0]:
            self.norms.add(trainer.global_step, gradient_norm(trainer, optimizer))
        if self._skipping:
            self.hands.before_step(trainer, optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        losses = self._losses
        losses.waiting.append(outputs.get("loss") if isinstance(outputs, dict) else outputs)
        if self._skipping:
            self.hands.after_backward(trainer)
        if batch_idx >= losses.quiet_until and losses.are_heard(trainer, batch_idx):
            self._listen(trainer)

    def is_due(self, batch_idx: int = -1) -> bool:
        """Whether there is something to do before a batch, but for a person's requests; where nobody calls for each batch."""
        repeats = self._wheel is not None and self._wheel.repeats
        return batch_idx == 0 or self.control.due or self._checked or self._patience.shared or repeats

    def follow(self, trainer: Trainer) -> None:
        """Takes in lr and momentum of the step that comes."""
        for optimizer in trainer.optimizers:
            self._logbook.before_step(trainer, optimizer)
        self.changed_now = False

    def hear(self, trainer: Trainer, losses: list[float]) -> None:
        """Takes in the losses of the last batches, where they are collected elsewhere."""
        self._losses.extend(losses, trainer)
        self._listen(trainer)

    def _listen(self, trainer: Trainer) -> None:
        """Tells the signals what was collected."""
        if losses := self._losses.take(trainer):
            self._logbook.losses(losses)
            self.control.feed("loss", losses)
        if self.norms:
            self.control.feed("gradient_norm", self.norms.take())
        self.norms.look(self._losses.step)
        if self._losses.several:
            self.control.found = trainer.strategy.broadcast(self.control.found)
        if self.control.due:
            self._quiet_until = -math.inf

    def _observe(self, trainer: Trainer, value: float | None) -> None:
        if value is None or (self._went_back and not self._watch.validates and not math.isfinite(value)):
            return
        self._yield_to_cut(trainer)
        self.control.check(trainer.global_step, value, self.monitor)
        self._logbook.check(self.monitor, value)
        self._checked = True
        self._quiet_until = -math.inf

    def _yield_to_cut(self, trainer: Trainer) -> None:
        """Starts counting anew if a ReduceLROnPlateau has lowered lr."""
        if self._patience.take(trainer):
            self.control.intervened(counts=False)
            self.control.forget("plateau")

    def _decide(self, trainer: Trainer) -> None:
        for finding in self.control.findings:
            self._logbook.found(trainer, finding.reason, kind=finding.kind, step=finding.step, by=self.state_key)
        left = checks_left(trainer, self._watch)
        decision = self.control.decide(trainer.current_epoch, trainer.global_step, hands.peaks(trainer), left)
        decision = trainer.strategy.broadcast(decision)
        if decision is not None:
            self._carry_out(trainer, decision, hands.read(trainer))
        if self.control.declined:
            self._beside.end()

    def _carry_out(self, trainer: Trainer, decision: Decision, before: list[Knobs]) -> None:
        allowed = [each for each in decision.actions if self.control.interventions_left or not intervenes(each)]
        done = [action for action in allowed if self.hands.carry_out(trainer, action)]
        if not done:
            return
        after = before
        if any(map(intervenes, done)):
            self._changed(trainer, done)
            after = hands.read(trainer)
        if any(isinstance(action, Stop) and action.diverged for action in done):
            self.diverged = decision.reason
        self._logbook.done(trainer, "decision", decision.reason, done, before, after, by=self.state_key)

    def _changed(self, trainer: Trainer, done: Sequence[Action], counts: bool = True) -> None:
        """Forgets what was seen of the fit before it was changed."""
        self.control.intervened(counts)
        self._losses.clear(trainer.global_step)
        self.norms.clear()
        self.changed_now = True
        self._went_back = self._went_back or any(isinstance(action, Rollback) for action in done)
