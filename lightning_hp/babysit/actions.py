"""What can be done to a running fit: plain data, for policies to decide on, hands to do, a log to keep, a replay to repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Knobs:
    """Where learning rate and momentum of one parameter group stand. Momentum is None where the optimizer has none."""

    lr: float
    momentum: float | None


@dataclass(frozen=True)
class Move:
    """A step of one parameter group in scale coordinates: multiply lr by one factor, and 1 - momentum by another."""

    lr_factor: float = 1.0
    momentum_factor: float = 1.0

    @property
    def nothing(self) -> bool:
        return self.lr_factor == 1.0 and self.momentum_factor == 1.0


@dataclass(frozen=True)
class Adjust:
    """Change lr and momentum: one move for each parameter group, numbered through all optimizers."""

    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Snapshot:
    """Keep weights, optimizers, schedulers and loss scale as they are now, under a name; an earlier one of that name goes."""

    name: str


@dataclass(frozen=True)
class Rollback:
    """Go back to a snapshot; steps, epochs and data run on.

    Attributes:
        name: the snapshot's.
        keep_moves: whether the moves made since the snapshot are made again, so that the same rollback twice goes on from a
            lower lr the second time. Without, lr and momentum are the snapshot's.
    """

    name: str
    keep_moves: bool = True


@dataclass(frozen=True)
class Skip:
    """Pass over the coming batches without an optimizer step."""

    batches: int


@dataclass(frozen=True)
class Stop:
    """End the fit.

    Attributes:
        diverged: whether the fit counts as diverged.
    """

    diverged: bool = False


Action: TypeAlias = Adjust | Snapshot | Rollback | Skip | Stop
