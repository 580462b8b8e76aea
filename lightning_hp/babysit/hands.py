"""Carries actions out on a running fit. The Babysitter uses it, and so does a replay of what one did.

All is done before a training batch, in ``on_train_batch_start``: there the schedulers of the last step and epoch have stepped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from lightning_hp.babysit import foreign, knobs, snapshots
from lightning_hp.babysit.actions import Action, Adjust, Knobs, Move, Rollback, Skip, Snapshot, Stop
from lightning_hp.errors import ConfigError


def read(trainer: Trainer) -> list[Knobs]:
    """lr and momentum of each parameter group, numbered through all optimizers."""
    return [group for optimizer in trainer.optimizers for group in knobs.read(optimizer)]


def peaks(trainer: Trainer) -> list[Knobs]:
    """As `read`, but each momentum the highest of its schedule's cycle."""
    return [group for optimizer in trainer.optimizers for group in knobs.peaks(optimizer, _schedulers(trainer, optimizer))]


def resume(trainer: Trainer) -> None:
    """Has new schedulers go on from what was moved before, where a fit goes on. Call in ``on_train_start``.

    Raises:
        ConfigError: there is nothing to move.
    """
    if not any(optimizer.param_groups for optimizer in trainer.optimizers):
        raise ConfigError("there is no lr for a Babysitter to change: configure_optimizers gave no optimizer")
    for optimizer in trainer.optimizers:
        foreign.resume(optimizer, _schedulers(trainer, optimizer))


def stop(trainer: Trainer) -> None:
    """Ends a fit, whatever min_epochs and min_steps say."""
    trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None
    trainer.should_stop = True


class Hands:
    """What carries actions out in one fit.

    For batches that are passed over, whoever has them calls `before_step` in ``on_before_optimizer_step``, and `after_backward`
    between a batch's backward and the next batch.

    Args:
        folder: where snapshots go that are too large for memory.
        rank: of this process among those that train together.

    Attributes:
        skip_until: the number of the batch, from the fit's first on, before which batches are passed over.
        stopped: whether the fit was stopped here.
        gather: called before optimizers are read, where their state is not in themselves.
        scatter: called after they were restored, for those who have it.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.snapshots = snapshots.Snapshots(folder, rank)
        self.skip_until = 0
        self.stopped = False
        self.gather: Callable[[], None] = lambda: None
        self.scatter: Callable[[], None] = lambda: None
        # By snapshot, what the moves since come to for each parameter group.
        self._since: dict[str, list[Move]] = {}

    def carry_out(self, trainer: Trainer, action: Action) -> bool:
        """Does one action.

        Returns:
            Whether anything was done: there may be no snapshot of that name, or nothing left to move.
        """
        if isinstance(action, Adjust):
            return self._adjust(trainer, action.moves)
        if isinstance(action, Snapshot):
            return self._take(trainer, action.name)
        if isinstance(action, Rollback):
            return self._go_back(trainer, action)
        if isinstance(action, Skip):
            self.skip_until = max(self.skip_until, trainer.fit_loop.epoch_loop.total_batch_idx + action.batches)
        if isinstance(action, Stop):
            self.stopped = True
            stop(trainer)
        return True

    def skips(self, trainer: Trainer) -> bool:
        """Whether the present batch is passed over."""
        return self.skip_until > 0 and trainer.fit_loop.epoch_loop.total_batch_idx < self.skip_until

    def after_backward(self, trainer: Trainer) -> None:
        """Drops the gradients of a batch that is passed over, where others are added to them before the step."""
        if self.skips(trainer) and trainer.fit_loop._should_accumulate():
            _drop_gradients(trainer.optimizers)

    def before_step(self, trainer: Trainer, optimizer: Optimizer) -> None:
        """Drops them just before the optimizer steps, which then changes nothing; a loss scale has seen them by now."""
        # To refuse the batch itself would end the epoch.
        if self.skips(trainer):
            _drop_gradients([optimizer])

    def state_dict(self) -> dict[str, Any]:
        since = {name: [[move.lr_factor, move.momentum_factor] for move in moves] for name, moves in self._since.items()}
        return {
            "snapshots": self.snapshots.state_dict(),
            "since": since,
            "skip_until": self.skip_until,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.snapshots.load_state_dict(state["snapshots"])
        self._since = {name: [Move(*factors) for factors in moves] for name, moves in state["since"].items()}
        self.skip_until, self.stopped = state["skip_until"], state["stopped"]

    def _adjust(self, trainer: Trainer, moves: Sequence[Move]) -> bool:
        before = read(trainer)
        _apply(trainer, moves)
        self._since = {name: _combined(since, moves) for name, since in self._since.items()}
        return read(trainer) != before

    def _take(self, trainer: Trainer, name: str) -> bool:
        if not snapshots.possible(trainer):
            rank_zero_warn(
                "Babysitter takes no snapshots, and so never rolls back: model or optimizer are spread over processes"
            )
            return False
        self.gather()
        self.snapshots.keep(name, snapshots.taken(trainer))
        self._since[name] = []
        return True

    def _go_back(self, trainer: Trainer, action: Rollback) -> bool:
        if action.name not in self.snapshots:
            return False
        self.gather()
        snapshot = self.snapshots.get(action.name)
        later = snapshots.later_groups(trainer, snapshot)
        snapshots.restore(trainer, snapshot)
        self.scatter()
        moves = self._since[action.name]
        undone = [Move(1 / move.lr_factor, 1 / move.momentum_factor) for move in moves]
        if action.keep_moves:
            # What has come since still has its own.
            _apply(trainer, [Move() if is_later else move for is_later, move in zip(later, moves, strict=False)])
        else:
            _apply(trainer, [move if is_later else Move() for is_later, move in zip(later, undone, strict=False)])
            self._since = {name: _combined(since, undone) for name, since in self._since.items()}
            self._since[action.name] = []
        return True


def _apply(trainer: Trainer, moves: Sequence[Move]) -> None:
    """Makes one move per parameter group, numbered through all optimizers; groups beyond the moves stay."""
    coming = iter(moves)
    for optimizer in trainer.optimizers:
        own = list(islice(coming, len(optimizer.param_groups)))
        own += [Move()] * (len(optimizer.param_groups) - len(own))
        if all(move.nothing for move in own):
            continue
        schedulers = _schedulers(trainer, optimizer)
        (foreign if foreign.among(schedulers) else knobs).apply(optimizer, schedulers, own)
        for scheduler in knobs.plateau_schedulers(schedulers):
            # The two share one patience.
            scheduler.num_bad_epochs = 0
            scheduler.cooldown_counter = scheduler.cooldown


def _drop_gradients(optimizers: Sequence[Optimizer]) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)


def _combined(first: Sequence[Move], second: Sequence[Move]) -> list[Move]:
    """What two moves after another come to, for each group."""
    pairs = zip_longest(first, second, fillvalue=Move())
    return [Move(a.lr_factor * b.lr_factor, a.momentum_factor * b.momentum_factor) for a, b in pairs]


def _schedulers(trainer: Trainer, optimizer: Optimizer) -> list[Any]:
    return [config.scheduler for config in trainer.lr_scheduler_configs if config.scheduler.optimizer is optimizer]
