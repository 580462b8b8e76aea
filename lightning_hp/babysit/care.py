"""One fit in a babysitter's care: what is seen of it, what is decided on that, and what is done about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from lightning_hp.babysit import hands, log
from lightning_hp.babysit.actions import Action, Knobs, Rollback, Stop
from lightning_hp.babysit.control import Control, intervenes
from lightning_hp.babysit.early import Beside
from lightning_hp.babysit.logbook import Logbook
from lightning_hp.babysit.patience import SharedPatience
from lightning_hp.babysit.policies import Decision
from lightning_hp.babysit.series import Losses, Norms
from lightning_hp.babysit.watch import Watch, checks_left
from lightning_hp.babysit.wheel import Wheel

# What has a state of its own, and what is plain.
_PARTS = ("control", "hands", "losses", "norms", "patience", "logbook", "watch")
_PLAIN = ("went_back", "diverged", "checked")


class Care:
    """Has signals see what a fit comes to, and hands do what the policy decides; all of it goes into the log.

    Args:
        control: the signals and the policy.
        monitor: the metric to watch.
        by: the babysitter's name in the log.
        folder: where the log and large snapshots go; None before there is a fit.
        rank: of this process among those that train together.

    Attributes:
        diverged: why the fit has ended as diverged, or None.
        checked: whether there was a check since the last batch.
        changed_now: whether the fit was changed before the present batch.
        skipping: whether the present batch is passed over.
        quiet_until: by ``time.monotonic()``; till then there is nothing to do before a batch, so that most come to no more than
            a look at it.
        went_back: whether the fit was gone back in this epoch: a metric of the whole epoch has in it what was gone back from.
        wheel: heeds a person's requests, if this is who does.
    """

    def __init__(self, control: Control, monitor: str, by: str, folder: Path | None = None, rank: int = 0) -> None:
        self.control = control
        self.folder = folder or Path()
        self.hands = hands.Hands(self.folder, rank)
        self.logbook = Logbook(folder / log.FILE if folder is not None else None)
        self.losses, self.norms = Losses(), Norms(control.listens_to("gradient_norm"))
        self.patience = SharedPatience()
        self.watch, self.beside = Watch(monitor), Beside(monitor)
        self.wheel: Wheel | None = None
        self.diverged: str | None = None
        self.checked = self.changed_now = self.skipping = self.went_back = False
        self.quiet_until = -math.inf
        self._by = by

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in _PARTS} | {name: getattr(self, name) for name in _PLAIN}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])
        for name in _PLAIN:
            setattr(self, name, state[name])

    def act(self, trainer: Trainer) -> None:
        """Writes down a check, and does what the policy wants, if there is anything new to decide on."""
        if self.checked:
            self.logbook.before_batch(trainer)
            self.checked = False
        self.patience.before_batch(trainer)
        if self.control.due:
            self._yield_to_cut(trainer)
        if self.control.due:
            self._decide(trainer)
        self.patience.look()

    def is_due(self, batch_idx: int = -1) -> bool:
        """Whether there is something to do before a batch, but for a person's requests; where nobody calls for each batch."""
        repeats = self.wheel is not None and self.wheel.repeats
        return batch_idx == 0 or self.control.due or self.checked or self.patience.shared or repeats

    def follow(self, trainer: Trainer) -> None:
        """Takes in lr and momentum of the step that comes."""
        for optimizer in trainer.optimizers:
            self.logbook.before_step(trainer, optimizer)
        self.changed_now = False

    def hear(self, trainer: Trainer, losses: list[float]) -> None:
        """Takes in the losses of the last batches, where they are collected elsewhere."""
        self.losses.extend(losses, trainer)
        self.listen(trainer)

    def listen(self, trainer: Trainer) -> None:
        """Tells the signals what was collected."""
        if losses := self.losses.take(trainer):
            self.logbook.losses(losses)
            self.control.feed("loss", losses)
        if self.norms:
            self.control.feed("gradient_norm", self.norms.take())
        self.norms.look(self.losses.step)
        if self.losses.several:
            self.control.found = trainer.strategy.broadcast(self.control.found)
        if self.control.due:
            self.quiet_until = -math.inf

    def observe(self, trainer: Trainer, value: float | None) -> None:
        """Takes in a check's value of the metric, if there is one."""
        if value is None or (self.went_back and not self.watch.validates and not math.isfinite(value)):
            return
        self._yield_to_cut(trainer)
        self.control.check(trainer.global_step, value, self.watch.monitor)
        self.logbook.check(self.watch.monitor, value)
        self.checked = True
        self.quiet_until = -math.inf

    def changed(self, trainer: Trainer, done: Sequence[Action], counts: bool = True) -> None:
        """Forgets what was seen of the fit before it was changed."""
        self.control.intervened(counts)
        self.losses.clear(trainer.global_step)
        self.norms.clear()
        self.changed_now = True
        self.went_back = self.went_back or any(isinstance(action, Rollback) for action in done)

    def _yield_to_cut(self, trainer: Trainer) -> None:
        """Starts counting anew if a ReduceLROnPlateau has lowered lr."""
        if self.patience.take(trainer):
            self.control.intervened(counts=False)
            self.control.forget("plateau")

    def _decide(self, trainer: Trainer) -> None:
        for finding in self.control.findings:
            self.logbook.found(trainer, finding.reason, kind=finding.kind, step=finding.step, by=self._by)
        left = checks_left(trainer, self.watch)
        decision = self.control.decide(trainer.current_epoch, trainer.global_step, hands.peaks(trainer), left)
        decision = trainer.strategy.broadcast(decision)
        if decision is not None:
            self._carry_out(trainer, decision, hands.read(trainer))
        if self.control.declined:
            self.beside.end()

    def _carry_out(self, trainer: Trainer, decision: Decision, before: list[Knobs]) -> None:
        allowed = [each for each in decision.actions if self.control.interventions_left or not intervenes(each)]
        done = [action for action in allowed if self.hands.carry_out(trainer, action)]
        if not done:
            return
        after = before
        if any(map(intervenes, done)):
            self.changed(trainer, done)
            after = hands.read(trainer)
        if any(isinstance(action, Stop) and action.diverged for action in done):
            self.diverged = decision.reason
        self.logbook.done(trainer, "decision", decision.reason, done, before, after, by=self._by)
