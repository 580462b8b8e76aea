"""Turning lr and momentum of a running fit, so that optimizers and schedulers go on from there.

A schedule recomputes lr from several places: the group's current value (StepLR, ExponentialLR, ...), base values kept in
the scheduler (LambdaLR, CosineAnnealingWarmRestarts, ...) or in the group (OneCycleLR, SWALR). All are changed alike, so
that what comes is the schedule's own value times the move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_hp.babysit.actions import Knobs, Move

_GROUP_LRS = ("lr", "initial_lr", "max_lr", "min_lr", "swa_lr")
_GROUP_MOMENTA = ("base_momentum", "max_momentum")
_SCHEDULER_LRS = ("base_lrs", "max_lrs")
_SCHEDULER_MOMENTA = ("base_momentums", "max_momentums")


def read(optimizer: Optimizer) -> list[Knobs]:
    """lr and momentum of each parameter group as they stand. Momentum is SGD's and RMSprop's own, or Adam's beta1."""
    return [Knobs(float(group["lr"]), _momentum(group)) for group in optimizer.param_groups]


def peaks(optimizer: Optimizer, schedulers: list[Any]) -> list[Knobs]:
    """As `read`, but each momentum the highest of its schedule's cycle, which a bound has to hold too."""
    groups = zip(optimizer.param_groups, read(optimizer), strict=True)
    return [Knobs(now.lr, _peak(index, group, schedulers, now.momentum)) for index, (group, now) in enumerate(groups)]


def apply(optimizer: Optimizer, schedulers: list[Any], moves: list[Move]) -> None:
    """Makes one move per parameter group, in the optimizer and in its schedulers.

    Args:
        optimizer: whose groups to change.
        schedulers: those of this optimizer; nested ones are found.
        moves: one per parameter group.
    """
    lrs = [_times(move.lr_factor) for move in moves]
    momenta = [_towards_one(move.momentum_factor) for move in moves]
    changed: set[int] = set()
    # The groups are taken fresh: load_state_dict replaces their dicts.
    for group, new_lr, new_momentum in zip(optimizer.param_groups, lrs, momenta, strict=True):
        _change_all(group, _GROUP_LRS, new_lr, changed)
        _change_all(group, (*_GROUP_MOMENTA, "momentum"), new_momentum, changed)
        if "betas" in group:
            beta1, *rest = group["betas"]
            group["betas"] = (new_momentum(beta1), *rest)
    for scheduler in _flat(schedulers):
        for key in _SCHEDULER_LRS:
            _change_list(scheduler, key, lrs)
        for key in _SCHEDULER_MOMENTA:
            _change_list(scheduler, key, momenta)
        # One floor for all groups: it goes with the first.
        eta_min = getattr(scheduler, "eta_min", None)
        if isinstance(eta_min, (int, float)):
            scheduler.eta_min = eta_min * moves[0].lr_factor


def plateau_schedulers(schedulers: list[Any]) -> list[ReduceLROnPlateau]:
    """The schedulers that lower lr on a plateau by themselves."""
    return [scheduler for scheduler in _flat(schedulers) if isinstance(scheduler, ReduceLROnPlateau)]


def look(scheduler: ReduceLROnPlateau) -> dict[str, Any]:
    """What tells later whether the scheduler has lowered lr, as plain values."""
    return {
        "best": float(scheduler.best),
        "bad": scheduler.num_bad_epochs,
        "cooldown": scheduler.cooldown_counter,
        "lrs": [float(group["lr"]) for group in scheduler.optimizer.param_groups],
    }


def has_cut(scheduler: ReduceLROnPlateau, before: dict[str, Any]) -> bool:
    """Whether the scheduler has lowered lr in its one step, if any, since a look.

    That lr is lower is not enough: another schedule may have done it.
    """
    now = look(scheduler)
    was_due = before["bad"] == scheduler.patience and before["cooldown"] == 0
    counts_anew = now["bad"] == 0 and now["best"] == before["best"]
    return was_due and counts_anew and any(lr < then for lr, then in zip(now["lrs"], before["lrs"], strict=True))


def _momentum(group: dict[str, Any]) -> float | None:
    if "betas" in group:
        return float(group["betas"][0])
    return float(group["momentum"]) if "momentum" in group else None


def _peak(index: int, group: dict[str, Any], schedulers: list[Any], now: float | None) -> float | None:
    if now is None:
        return None
    cycles = [getattr(scheduler, key, None) for scheduler in _flat(schedulers) for key in _SCHEDULER_MOMENTA]
    coming = [group.get(key) for key in _GROUP_MOMENTA] + [cycle[index] for cycle in cycles if cycle]
    return max([now, *(float(momentum) for momentum in coming if momentum is not None)])


def _flat(schedulers: list[Any]) -> Iterator[Any]:
    # SequentialLR and ChainedScheduler keep theirs in a list.
    for scheduler in schedulers:
        yield scheduler
        yield from _flat(list(getattr(scheduler, "_schedulers", [])))


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda value: value * factor


def _towards_one(factor: float) -> Callable[[Any], Any]:
    # 1 - (1 - value) would round.
    return (lambda value: value) if factor == 1.0 else (lambda value: 1.0 - (1.0 - value) * factor)


def _change_all(group: dict[str, Any], keys: tuple[str, ...], change: Callable[[Any], Any], changed: set[int]) -> None:
    for key in keys:
        value = group.get(key)
        # One tensor may be the lr of several groups.
        if value is None or id(value) in changed:
            continue
        if isinstance(value, torch.Tensor):
            value.fill_(change(float(value)))
            changed.add(id(value))
        else:
            group[key] = change(value)


def _change_list(scheduler: Any, key: str, changes: list[Callable[[Any], Any]]) -> None:
    values = getattr(scheduler, key, None)
    # ChainedScheduler and SequentialLR have none of their own.
    if isinstance(values, list) and len(values) == len(changes):
        setattr(scheduler, key, [change(value) for change, value in zip(changes, values, strict=True)])
