"""Turning lr and momentum of a running fit, so that optimizers and schedulers go on from there.

A schedule recomputes lr from several places: the group's current value (StepLR, ExponentialLR, ...), base values kept in
the scheduler (LambdaLR, CosineAnnealingWarmRestarts, ...) or in the group (OneCycleLR, SWALR). All are changed alike, so
that what comes is the schedule's own value times the move: every torch schedule is a sum of such values whose weights do
not depend on them. Four places in torch bend that rule, and `apply` says how.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_hp.babysit.actions import Knobs, Move
from lightning_hp.errors import ConfigError

_OF_SCHEDULES = ("initial_lr", "max_lr", "min_lr", "swa_lr")
_GROUP_MOMENTA = ("base_momentum", "max_momentum")
_SCHEDULER_LRS = ("base_lrs", "max_lrs", "_last_lr")
_SCHEDULER_MOMENTA = ("base_momentums", "max_momentums")


def read(optimizer: Optimizer) -> list[Knobs]:
    """lr and momentum of each parameter group as they stand."""
    return [Knobs(float(group["lr"]), momentum(group)) for group in optimizer.param_groups]


def peaks(optimizer: Optimizer, schedulers: list[Any]) -> list[Knobs]:
    """As `read`, but each momentum the highest of its schedule's cycle, which a bound has to hold too."""
    return [
        now if now.momentum is None else Knobs(now.lr, max(_cycle(index, group, schedulers, now.momentum)))
        for index, (group, now) in enumerate(zip(optimizer.param_groups, read(optimizer), strict=True))
    ]


def apply(optimizer: Optimizer, schedulers: list[Any], moves: list[Move]) -> None:
    """Makes one move per parameter group, in the optimizer and in its schedulers.

    From then on lr is the schedule's own times ``lr_factor``, and momentum's distance to 1 the schedule's own times
    ``momentum_factor``, at every later step and after all moves the product of their factors. Except that

    - momentum is never lowered below 0 at any point of its cycle: a larger factor is made smaller;
    - what all groups share goes with the first group's move: the one ``eta_min`` of a cosine, and an lr that is one tensor;
    - ``min_lr`` and ``eps`` of ReduceLROnPlateau stay: they bound lr, and are no part of a curve;
    - some optimizers do not step by the lr they are given: Rprop reads it at its first step only, ASGD one step late, and
      Adafactor takes no more than 1 / sqrt(step), whoever changes lr.

    Args:
        optimizer: whose groups to change.
        schedulers: those of this optimizer; nested ones are found.
        moves: one per parameter group.

    Raises:
        ConfigError: a factor is not above 0 and finite. Nothing was changed.
    """
    _check(moves)
    schedulers = list(flat(schedulers))
    lrs = [_times(move.lr_factor) for move in moves]
    momenta = [_towards_one(factor) for factor in bounded(optimizer, schedulers, moves)]
    changed: set[int] = set()
    # The groups are taken fresh: load_state_dict replaces their dicts.
    for group, new_lr, new_momentum in zip(optimizer.param_groups, lrs, momenta, strict=True):
        _change_all(group, _OF_SCHEDULES, new_lr, changed)
        _change_all(group, _GROUP_MOMENTA, new_momentum, changed)
        _turn(group, new_lr, new_momentum, changed)
    for scheduler in schedulers:
        for key in _SCHEDULER_LRS:
            _change_list(scheduler, key, lrs, changed)
        for key in _SCHEDULER_MOMENTA:
            _change_list(scheduler, key, momenta, changed)
        if getattr(scheduler, "eta_min", None) is not None:
            scheduler.eta_min = lrs[0](scheduler.eta_min)


def turn(optimizer: Optimizer, moves: list[Move]) -> None:
    """Makes one move per parameter group in its lr and momentum, and nowhere else."""
    changed: set[int] = set()
    for group, move in zip(optimizer.param_groups, moves, strict=True):
        _turn(group, _times(move.lr_factor), _towards_one(move.momentum_factor), changed)


def plateau_schedulers(schedulers: list[Any]) -> list[ReduceLROnPlateau]:
    """The schedulers that lower lr on a plateau by themselves."""
    return [scheduler for scheduler in flat(schedulers) if isinstance(scheduler, ReduceLROnPlateau)]


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


def momentum(group: dict[str, Any]) -> float | None:
    """A parameter group's, SGD's and RMSprop's own or Adam's beta1; None where the optimizer has none."""
    if "betas" in group:
        return float(group["betas"][0])
    return float(group["momentum"]) if "momentum" in group else None


def _cycle(index: int, group: dict[str, Any], schedulers: Iterable[Any], now: float) -> list[float]:
    """The momentum of a group now, and the ends of the cycles that it goes through."""
    lists = [getattr(scheduler, key, None) for scheduler in flat(schedulers) for key in _SCHEDULER_MOMENTA]
    ends = [group.get(key) for key in _GROUP_MOMENTA] + [each[index] for each in lists if each and index < len(each)]
    return [now, *(float(momentum) for momentum in ends if momentum is not None)]


def bounded(optimizer: Optimizer, schedulers: list[Any], moves: list[Move]) -> Iterator[float]:
    """The factors of 1 - momentum, none so large that a momentum would fall below 0."""
    for index, (group, move) in enumerate(zip(optimizer.param_groups, moves, strict=True)):
        now = momentum(group)
        lowest = 0.0 if now is None else min(_cycle(index, group, schedulers, now))
        most = 1.0 / (1.0 - lowest) if lowest < 1.0 else math.inf
        yield move.momentum_factor if move.momentum_factor <= 1.0 else min(move.momentum_factor, most)


def _check(moves: list[Move]) -> None:
    for move in moves:
        if not (0 < move.lr_factor < math.inf and 0 < move.momentum_factor < math.inf):
            raise ConfigError(f"a move needs factors above 0 and finite, got {move}")


def flat(schedulers: Iterable[Any]) -> Iterator[Any]:
    """The schedulers and those inside them, each once."""
    seen: set[int] = set()
    waiting = list(schedulers)
    while waiting:
        scheduler = waiting.pop(0)
        if id(scheduler) not in seen:
            seen.add(id(scheduler))
            yield scheduler
            # SequentialLR and ChainedScheduler keep theirs in a list.
            waiting += getattr(scheduler, "_schedulers", [])


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda value: value * factor


def _towards_one(factor: float) -> Callable[[Any], Any]:
    # 1 - (1 - value) would round, and as far as to 0 it may round below.
    return (lambda value: value) if factor == 1.0 else (lambda value: max(0.0, 1.0 - (1.0 - value) * factor))


def _turn(group: dict[str, Any], new_lr: Callable[[Any], Any], new_momentum: Callable[[Any], Any], changed: set[int]) -> None:
    _change_all(group, ("lr",), new_lr, changed)
    _change_all(group, ("momentum",), new_momentum, changed)
    if "betas" in group:
        beta1, *rest = group["betas"]
        group["betas"] = (_changed(beta1, new_momentum, changed), *rest)


def _change_all(group: dict[str, Any], keys: tuple[str, ...], change: Callable[[Any], Any], changed: set[int]) -> None:
    for key in keys:
        if group.get(key) is not None:
            group[key] = _changed(group[key], change, changed)


def _changed(value: Any, change: Callable[[Any], Any], changed: set[int]) -> Any:
    """The value changed, a tensor in its place, for compiled steps hold it; one of several groups once."""
    if not isinstance(value, torch.Tensor):
        return change(value)
    if id(value) not in changed:
        value.fill_(change(float(value)))
        changed.add(id(value))
    return value


def _change_list(scheduler: Any, key: str, changes: list[Callable[[Any], Any]], changed: set[int]) -> None:
    values = getattr(scheduler, key, None)
    # Groups that were added after a schedule was made have no value there; ChainedScheduler and SequentialLR have no lists.
    if isinstance(values, list) and len(values) <= len(changes):
        # In older torch these are the very tensors of the groups, which have been changed.
        pairs = zip(changes, values, strict=False)
        setattr(scheduler, key, [value if id(value) in changed else change(value) for change, value in pairs])
