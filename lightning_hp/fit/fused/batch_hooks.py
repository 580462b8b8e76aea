"""The members' hooks that run once a batch: which there are, and which of them do anything at one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from lightning_hp.babysit import Babysitter
from lightning_hp.fit.fused.hooks import BATCH_HOOKS, OURS, own_hook
from lightning_hp.fit.fused.member import Member
from lightning_hp.fit.reporter import Reporter


@dataclass(frozen=True)
class BatchHook:
    """What a callback or a model does at each batch.

    Attributes:
        row: of the member.
        call: takes what the hook takes after the Trainer and the module.
        due: where it is known, whether it does anything at a training batch; the same for all members.
    """

    row: int
    call: Callable[..., Any]
    due: Callable[[Trainer, int], bool] | None = None


class BatchHooks:
    """The callbacks' and the models' own versions of such hooks, but for the babysitters'.

    Args:
        members: those that train, in the order of their rows.

    Attributes:
        watched: the rows of those between whose batches code of the user's runs.
        followed: the rows of those where anything looks between batches at what a step has logged.
        scheduled: those that have schedulers.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._hooks = {name: list(_found(members, name)) for name in BATCH_HOOKS}
        self._dues = {name: {hook.due for hook in hooks} for name, hooks in self._hooks.items()}
        self.watched = [row for row, member in enumerate(members) if member.watched]
        self.followed = [row for row, member in enumerate(members) if member.follows_steps]
        self.scheduled = [member for member in members if member.trainer.lr_scheduler_configs]

    def at(self, name: str, training_batch: int | None = None) -> list[BatchHook]:
        """Those of a name; at a training batch, those that do anything there."""
        hooks, dues = self._hooks[name], self._dues[name]
        # Of a trial that is about to stop, Lightning logs all batches.
        if training_batch is None or any(member.trainer.should_stop for member in self._members):
            return hooks
        trainer = self._members[0].trainer
        idle = {due for due in dues if due is not None and not due(trainer, training_batch)}
        return [] if idle == dues else [hook for hook in hooks if hook.due not in idle]


def _found(members: Sequence[Member], name: str) -> Iterator[BatchHook]:
    for row, member in enumerate(members):
        for callback in member.callbacks:
            hook = own_hook(callback, name)
            if type(callback) is not Babysitter and hook is not None:
                method = partial(hook, member.trainer, member.model)
                # Ours do not log by the model, which saves them time.
                call = method if type(callback) in OURS else member.journal.in_batch(name, method)
                yield BatchHook(row, call, _DUE.get(type(callback)))
        hook = own_hook(member.model, name)
        if hook is not None:
            yield BatchHook(row, member.journal.in_batch(name, hook))


# When those that every trial has do something at a training batch; to ask each trial's own would take as long as a step.
_DUE: dict[type[Callback], Callable[[Trainer, int], bool]] = {
    Reporter: Reporter.looks_at,
    LearningRateMonitor: lambda trainer, batch_idx: trainer._logger_connector.should_update_logs,
}
