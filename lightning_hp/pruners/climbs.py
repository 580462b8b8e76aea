"""How far the trials of a search have come, seen all at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lightning_hp.trial import Mode


@dataclass(frozen=True)
class Climb:
    """How far a trial has come.

    Attributes:
        values: the best that its objective had at each rung that it has come to, from the lowest; None where it had none. Of a
            trial that has ended before a pruner stopped it, what it has come to stands for the rungs above.
        passed: how many rungs it has gone on from.
        waits: whether it waits at the next one.
        ended: whether it has ended, and not by the pruner.
    """

    values: tuple[float | None, ...]
    passed: int = 0
    waits: bool = False
    ended: bool = False


@dataclass(frozen=True)
class Climbs:
    """What all trials have come to, as costs: the less the better, infinite for those that have no value.

    Args:
        climbs: by number.
        mode: of the objective.
    """

    climbs: Mapping[int, Climb]
    mode: Mode

    def cost(self, number: int, rung: int) -> float:
        """What a trial had come to at a rung, or at the last one below that it came to."""
        climb = self.climbs[number]
        value = climb.values[min(rung, len(climb.values) - 1)] if climb.values else None
        # One that has failed or diverged is no good, whatever it was before.
        if value is None or not math.isfinite(value) or (climb.ended and climb.values[-1] is None):
            return math.inf
        return value if self.mode == "min" else -value

    def waiting(self, rung: int) -> list[int]:
        """Who waits at a rung."""
        return [number for number, climb in self.climbs.items() if climb.waits and climb.passed == rung]

    def at(self, rung: int) -> list[int]:
        """Who has come to a rung, with a value."""
        return [
            number
            for number, climb in self.climbs.items()
            if (len(climb.values) > rung or climb.ended) and self.cost(number, rung) < math.inf
        ]

    def gone(self, rung: int) -> list[int]:
        """Who has gone on from a rung, and has a value."""
        return [number for number, climb in self.climbs.items() if climb.passed > rung and self.cost(number, rung) < math.inf]

    def ranked(self, numbers: Iterable[int], rung: int) -> list[int]:
        """Best first by what they had come to at a rung; equals by number."""
        return sorted(numbers, key=lambda number: (self.cost(number, rung), number))

    def worth(self, rung: int, least: int = 0) -> dict[int, float]:
        """What each trial that has a value is worth at a rung.

        One that has not come there, but to rung ``least``, is taken to gain as much as those that have, in the median.
        """
        at = self.at(rung)
        costs = {last: [self.cost(number, last) for number in at] for last in range(least, rung + 1)}
        gains = {last: float(np.median(np.subtract(costs[last], costs[rung]))) if at else 0.0 for last in costs}
        worth = {}
        for number, climb in self.climbs.items():
            cost, last = self.cost(number, rung), len(climb.values) - 1
            if not math.isfinite(cost):
                continue
            if last in gains and not climb.ended:
                cost -= gains[last]
            worth[number] = cost if self.mode == "min" else -cost
        return worth
