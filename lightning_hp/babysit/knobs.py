"""Turning lr and momentum of a running fit, so that optimizers and schedulers go on from there.

A schedule recomputes lr from several places: the group's current value (StepLR, ExponentialLR, ...), base values kept in
the scheduler (LambdaLR, CosineAnnealingWarmRestarts, ...) or in the group (OneCycleLR). All are scaled alike, so that what
comes is the schedule's own value times the move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_hp.babysit.policy import Knobs, Move

_GROUP_LRS = ("lr", "initial_lr", "max_lr", "min_lr")
_GROUP_MOMENTA = ("base_momentum", "max_momentum")
_SCHEDULER_LRS = ("base_lrs", "max_lrs")
_SCHEDULER_MOMENTA = ("base_momentums", "max_momentums")


def read(optimizer: Optimizer) -> list[Knobs]:
    """lr and momentum of each parameter group as they stand. Momentum is SGD's and RMSprop's own, or Adam's beta1."""
    return [Knobs(float(group["lr"]), _momentum(group)) for group in optimizer.param_groups]


def apply(optimizer: Optimizer, schedulers: list[Any], moves: list[Move]) -> None:
    """Makes one move per parameter group, in the optimizer and in its schedulers.

    Args:
        optimizer: whose groups to change.
        schedulers: those of this optimizer; nested ones are found.
        moves: one per parameter group.
    """
    # The groups are taken fresh: load_state_dict replaces their dicts.
    for group, move in zip(optimizer.param_groups, moves, strict=True):
        _scale_all(group, _GROUP_LRS, _times(move.lr_factor))
        _scale_all(group, _GROUP_MOMENTA, _towards_one(move.momentum_factor))
        if "betas" in group:
            beta1, *rest = group["betas"]
            group["betas"] = (_towards_one(move.momentum_factor)(beta1), *rest)
        else:
            _scale_all(group, ("momentum",), _towards_one(move.momentum_factor))
    for scheduler in _flat(schedulers):
        for key in _SCHEDULER_LRS:
            _scale_list(scheduler, key, [_times(move.lr_factor) for move in moves])
        for key in _SCHEDULER_MOMENTA:
            _scale_list(scheduler, key, [_towards_one(move.momentum_factor) for move in moves])
        # One floor for all groups: it goes with the first.
        eta_min = getattr(scheduler, "eta_min", None)
        if isinstance(eta_min, (int, float)):
            scheduler.eta_min = eta_min * moves[0].lr_factor


def plateau_schedulers(schedulers: list[Any]) -> list[ReduceLROnPlateau]:
    """The schedulers that lower lr on a plateau by themselves."""
    return [scheduler for scheduler in _flat(schedulers) if isinstance(scheduler, ReduceLROnPlateau)]


def _momentum(group: dict[str, Any]) -> float | None:
    if "betas" in group:
        return float(group["betas"][0])
    return float(group["momentum"]) if "momentum" in group else None


def _flat(schedulers: list[Any]) -> Iterator[Any]:
    # SequentialLR and ChainedScheduler keep theirs in a list.
    for scheduler in schedulers:
        yield scheduler
        yield from _flat(list(getattr(scheduler, "_schedulers", [])))


def _times(factor: float) -> Callable[[float], float]:
    return lambda value: value * factor


def _towards_one(factor: float) -> Callable[[float], float]:
    return lambda value: 1.0 - (1.0 - value) * factor if factor != 1.0 else value


def _scale_all(group: dict[str, Any], keys: tuple[str, ...], change: Callable[[float], float]) -> None:
    for key in keys:
        value = group.get(key)
        if isinstance(value, torch.Tensor):
            value.fill_(change(float(value)))
        elif value is not None:
            group[key] = change(value)


def _scale_list(scheduler: Any, key: str, changes: list[Callable[[float], float]]) -> None:
    values = getattr(scheduler, key, None)
    # ChainedScheduler and SequentialLR have none of their own.
    if isinstance(values, list) and len(values) == len(changes):
        setattr(scheduler, key, [change(value) for change, value in zip(changes, values, strict=True)])
