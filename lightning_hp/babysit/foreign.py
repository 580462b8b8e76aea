"""Schedules that are not torch's: what they compute lr from is theirs to know, so that there is nothing in them to change.

Instead they make each of their steps on lr and momentum as they would be without the moves, which are made again afterwards.
What comes is the schedule's own value times the moves as well. What the moves come to is kept in the optimizer's groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any

from torch.optim import Optimizer

from lightning_hp.babysit import knobs
from lightning_hp.babysit.actions import Move

# In a parameter group.
_MOVED = "moved"


def among(schedulers: list[Any]) -> bool:
    """Whether one of these schedulers, or of those inside them, is not torch's."""
    return not all(type(scheduler).__module__.startswith("torch.optim") for scheduler in knobs.flat(schedulers))


def apply(optimizer: Optimizer, schedulers: list[Any], moves: list[Move]) -> None:
    """Makes one move per parameter group, as `knobs.apply` does, where one of the schedulers is not torch's.

    Args:
        optimizer: whose groups to change.
        schedulers: all of this optimizer's; all are followed from now on.
        moves: one per parameter group.
    """
    made = [Move(move.lr_factor, factor) for move, factor in zip(moves, knobs.bounded(optimizer, [], moves), strict=True)]
    knobs.turn(optimizer, made)
    for group, move in zip(optimizer.param_groups, made, strict=True):
        lr_factor, momentum_factor = group.get(_MOVED, (1.0, 1.0))
        group[_MOVED] = (lr_factor * move.lr_factor, momentum_factor * move.momentum_factor)
    _follow(schedulers)


def resume(optimizer: Optimizer, schedulers: list[Any]) -> None:
    """Has new schedulers followed where an optimizer goes on that was moved before."""
    if any(_MOVED in group for group in optimizer.param_groups):
        _follow(schedulers)


def _follow(schedulers: list[Any]) -> None:
    for scheduler in schedulers:
        if not getattr(scheduler, "_follows_moves", False):
            kind: Any = type(scheduler)
            scheduler.__class__ = _following(kind)


@lru_cache
def _following(kind: Any) -> type:
    """A class to all others the same, whose steps are made without the moves."""
    steps = {name: _without_moves(getattr(kind, name)) for name in dir(kind) if name.startswith("step")}
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {**names, **steps, "_follows_moves": True})


def _without_moves(step: Any) -> Any:
    @wraps(step)
    def stepping(scheduler: Any, *args: Any, **keywords: Any) -> Any:
        with _unmoved(scheduler.optimizer):
            return step(scheduler, *args, **keywords)

    return stepping if callable(step) else step


@contextmanager
def _unmoved(optimizer: Optimizer) -> Iterator[None]:
    # A step may be made of others, and one schedule hold another.
    moved = [group.pop(_MOVED, None) for group in optimizer.param_groups]
    moves = [Move() if each is None else Move(*each) for each in moved]
    knobs.turn(optimizer, [Move(1 / move.lr_factor, 1 / move.momentum_factor) for move in moves])
    try:
        yield
    finally:
        knobs.turn(optimizer, moves)
        for group, each in zip(optimizer.param_groups, moved, strict=True):
            if each is not None:
                group[_MOVED] = each
