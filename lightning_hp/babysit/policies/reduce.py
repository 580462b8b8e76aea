"""Policy: from a signal to a move, in scale coordinates (lr by a factor, momentum by its distance to 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Knobs:
    """Where learning rate and momentum of one parameter group stand. Momentum is None where the optimizer has none."""

    lr: float
    momentum: float | None


@dataclass(frozen=True)
class Move:
    """What to do to one parameter group: multiply lr by one factor, and 1 - momentum by another."""

    lr_factor: float = 1.0
    momentum_factor: float = 1.0

    @property
    def nothing(self) -> bool:
        return self.lr_factor == 1.0 and self.momentum_factor == 1.0


@dataclass(frozen=True)
class Reduce:
    """Lower lr, and raise momentum one step along the reverse-log scale.

    Attributes:
        factor: lr becomes lr * factor.
        min_lr: lr is never lowered below.
        momentum_factor: 1 - momentum becomes that times this: 0.5 takes 0.9 to 0.95, then 0.975. 1 leaves it alone.
        max_momentum: momentum is never raised above.
    """

    factor: float
    min_lr: float
    momentum_factor: float
    max_momentum: float

    def moves(self, groups: Sequence[Knobs]) -> list[Move]:
        """One move per parameter group; a group at its bounds, or with momentum off (0), gets a smaller one or none.

        >>> Reduce(factor=0.5, min_lr=0.06, momentum_factor=0.5, max_momentum=0.99).moves([Knobs(0.1, 0.9)])
        [Move(lr_factor=0.6, momentum_factor=0.5)]
        """
        return [self._move(group) for group in groups]

    def _move(self, group: Knobs) -> Move:
        # A group at lr 0 is frozen, or its schedule is before its start or past its end: nothing to lower, and no telling
        # how far it is from min_lr.
        if not 0 < group.lr < math.inf:
            return Move()
        lr_factor = max(self.factor, self.min_lr / group.lr)
        return Move(_at_most_1(lr_factor), self._momentum_factor(group.momentum))

    def _momentum_factor(self, momentum: float | None) -> float:
        # Momentum 0 is a choice of plain gradient descent, not a small momentum.
        if not momentum or momentum >= self.max_momentum:
            return 1.0
        return _at_most_1(max(self.momentum_factor, (1.0 - self.max_momentum) / (1.0 - momentum)))


def _at_most_1(factor: float) -> float:
    # A bound that float32 has rounded is reached, not a part in ten million away.
    return 1.0 if factor > 1.0 - 1e-6 else factor
