"""The members' babysitters in a fused fit: each has its own trial to look after, and no step of all waits for one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_hp.babysit.inbox import INTERVAL
from lightning_hp.babysit.series import EVERY
from lightning_hp.fit.fused.member import Member
from lightning_hp.fit.fused.optimizer import FusedOptimizer, row_norms


class Babysitting:
    """Calls the babysitters where there is something for them to do, and tells them what they collect by themselves elsewhere.

    Args:
        members: of the fit, in the order of their rows.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._own = [(row, member, each) for row, member in enumerate(members) for each in member.babysitters]
        self._losses: list[Tensor] = []
        self._next_look = 0.0

    def keep(self, rows: Sequence[int]) -> None:
        """Follows the stack, which has kept only these rows."""
        places = {row: place for place, row in enumerate(rows)}
        self._own = [(places[row], member, each) for row, member, each in self._own if row in places]
        self._losses = [losses[torch.tensor(rows, device=losses.device)] for losses in self._losses]

    def before_batch(self, batch: Any, batch_idx: int) -> None:
        """Has those act that have something to do before a training batch."""
        now = time.monotonic()
        asked = self._own and now >= self._next_look
        if asked:
            self._next_look = now + INTERVAL
        for _, member, each in self._own:
            if asked or each.care.is_due(batch_idx):
                member.guarded(each.on_train_batch_start, member.trainer, member.model, batch, batch_idx)

    def after_backward(self, optimizer: FusedOptimizer, accumulates: bool) -> None:
        """Drops the gradients of rows that pass over the batch, where others are added to them before the step."""
        if accumulates:
            optimizer.drop_gradients(self._skipping())

    def before_step(self, optimizer: FusedOptimizer, batch_idx: int) -> None:
        """Tells of lr, momentum and the gradients' norms of the step that comes, and which rows do not make it."""
        optimizer.passed_over = self._skipping()
        due = [each.care.norms.due for _, _, each in self._own]
        norms = row_norms(optimizer.gradients).tolist() if any(due) else []
        for (row, member, each), samples in zip(self._own, due, strict=True):
            if samples:
                each.care.norms.add(member.trainer.global_step, norms[row])
            if batch_idx == 0 or each.care.changed_now or member.changes_lr:
                each.care.follow(member.trainer)

    def after_batch(self, losses: Tensor, batch_idx: int, last: bool) -> None:
        """Hands on what the rows' losses were, some batches at a time."""
        if not self._own:
            return
        self._losses.append(losses)
        if (batch_idx + 1) % EVERY == 0 or last:
            self.hand_on()

    def hand_on(self) -> None:
        """Hands on those that wait, which a check is not to come before."""
        if self._losses:
            columns = torch.stack(self._losses).float().T.tolist()
            self._losses = []
            for row, member, each in self._own:
                member.guarded(each.care.hear, member.trainer, columns[row])

    def _skipping(self) -> list[int]:
        return [row for row, member, each in self._own if each.care.hands.skip_until and each.care.hands.skips(member.trainer)]


def connect(member: Member, gather: Callable[[], None], scatter: Callable[[], None]) -> None:
    """Has a member's babysitters take and restore the optimizer state that is in the stack.

    Args:
        member: the trial.
        gather: gives its own optimizer the state.
        scatter: takes it back from there.
    """
    for each in member.babysitters:
        each.care.hands.gather, each.care.hands.scatter = gather, scatter
