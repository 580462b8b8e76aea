"""Moves in scale coordinates, one per parameter group: lr by a factor, momentum by its distance to 1, within bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_hp.babysit.actions import Adjust, Knobs, Move


def times_lr(groups: Sequence[Knobs], factor: float, min_lr: float = 0.0) -> list[float]:
    """What to multiply each group's lr by: the factor, or so much of a lowering as leaves lr at its lower bound.

    >>> times_lr([Knobs(0.1, None), Knobs(0.0, None)], 0.5, min_lr=0.06)
    [0.6, 1.0]
    """
    return [_lr_factor(group.lr, factor, min_lr) for group in groups]


def times_distance(groups: Sequence[Knobs], factor: float, max_momentum: float = 1.0) -> list[float]:
    """What to multiply each group's 1 - momentum by; momentum is not raised above its bound, and not lowered below 0.

    >>> times_distance([Knobs(0.1, 0.9), Knobs(0.1, 0.98), Knobs(0.1, 0.0)], 0.5, max_momentum=0.99)
    [0.5, 0.5, 1.0]
    """
    return [_distance_factor(group.momentum, factor, max_momentum) for group in groups]


def adjust(lr_factors: Sequence[float], momentum_factors: Sequence[float]) -> Adjust | None:
    """The moves of all groups; None where there is nothing to move."""
    moves = tuple(Move(lr, momentum) for lr, momentum in zip(lr_factors, momentum_factors, strict=True))
    return None if all(move.nothing for move in moves) else Adjust(moves)


def _lr_factor(lr: float, factor: float, min_lr: float) -> float:
    # A group at lr 0 is frozen, or its schedule is before its start or past its end: nothing to move, and no telling how far
    # it is from its bound.
    if not 0 < lr < math.inf:
        return 1.0
    return factor if factor >= 1.0 else _at_most_1(max(factor, min_lr / lr))


def _distance_factor(momentum: float | None, factor: float, max_momentum: float) -> float:
    # Momentum 0 is a choice of plain gradient descent, not a small momentum.
    if not momentum:
        return 1.0
    if factor > 1.0:
        return min(factor, 1.0 / (1.0 - momentum)) if momentum < 1.0 else 1.0
    return 1.0 if momentum >= max_momentum else _at_most_1(max(factor, (1.0 - max_momentum) / (1.0 - momentum)))


def _at_most_1(factor: float) -> float:
    # A bound that float32 has rounded is reached, not a part in ten million away.
    return 1.0 if factor > 1.0 - 1e-6 else factor
