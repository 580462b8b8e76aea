"""Progressive halving: the best go on rung by rung, and how far the others train is learnt from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_hp.bounds import make_whole
from lightning_hp.description import named
from lightning_hp.errors import ConfigError, one_of
from lightning_hp.pruners.climbs import Climb, Climbs
from lightning_hp.pruners.standing import rising
from lightning_hp.trial import Mode, Unit

# The rungs, as parts of a whole trial, and where it has no end.
_PARTS, _OPEN = (2 / 27, 4 / 27, 6 / 27, 10 / 27), (2, 4, 6, 10)
_GATE, _SHORT, _LONG, _FAR = range(4)
# These shares of all trials pass the gate; more where it is known soon what they come to.
_PASS, _PASS_SETTLED = 0.6, 0.8
# The best have settled if from the long rung to the far one they gain less than this part of how far apart trials are.
_SETTLED = 0.08
# From so many on it can be told.
_TELLING = 2
# One in so many is proposed at the end, by what the best have come to at the far rung.
_LATE = 12
# Of those at the far rung, one in so many trains to its end.
_ENDS = 5


@dataclass(frozen=True)
class Progressive:
    """Progressive halving: few trials go far while the search runs, which tell how far the others have to train.

    With few epochs to spend it finds better trials than `Halving`. There are four rungs, and whenever all trials of a round
    have stopped:

    1. At the first rung those that are worse than most that have come there are pruned.
    2. The others wait at the second; or at the third, while the best ones that went on from there have hardly gained by it:
       then this rung shows what trials come to. Where they gain much, no early rung does, and the second shows as much for
       less.
    3. One in ``factor`` of all trials goes on to the fourth, the best first; half as many while the best have settled.

    Rounds are proposed by how the trials stand where they wait. The last twelfth of the trials is proposed by the fourth rung,
    and goes on to there unless worse than those before. When no more begin, a fifth of those at the fourth rung trains to the
    end, or the best alone where they have settled; until then none is complete. Who goes on depends on the trials alone, never
    on the number of workers.

    That the rung at which trials are compared is learnt from how the best go on is the idea of Bohdal et al., "PASHA: Efficient
    HPO and NAS with Progressive Resource Allocation", ICLR 2023.

    Args:
        rungs: four numbers of epochs or steps that rise; by default 2, 4, 6 and 10 of 27 epochs, and others alike.
        factor: one in so many trials goes on to the last rung before the end.
        unit: ``"epochs"`` or ``"steps"``, as for `Halving`.

    Raises:
        ConfigError: these are not four rungs that rise, or there is no such unit.

    >>> Progressive().rung(3, 27), Progressive(rungs=(1, 2, 3, 5)).rung(3, 27), Progressive().rung(4, 27)
    (10, 5, None)
    """

    rungs: Sequence[int] | None = None
    factor: int = 8
    unit: Unit = "epochs"

    def __post_init__(self) -> None:
        make_whole(self, factor=2)
        one_of("Progressive(unit=)", self.unit, ("epochs", "steps"))
        if self.rungs is not None:
            rungs = rising("Progressive(rungs=)", self.rungs)
            if len(rungs) != len(_PARTS):
                raise ConfigError(f"Progressive(rungs=) needs four rungs, such as (2, 4, 6, 10), got {self.rungs!r}")
            object.__setattr__(self, "rungs", rungs)

    def describe(self) -> str | dict[str, Any]:
        """As a config has it."""
        return named("progressive", self, Progressive())

    def rung(self, index: int, most: int | None) -> int | None:
        rungs = self.rungs or (_OPEN if most is None else _spaced(most))
        # Trials that cannot come to all are not compared.
        return rungs[index] if index < len(rungs) and (most is None or rungs[-1] < most) else None

    def decide(self, climbs: Mapping[int, Climb], mode: Mode, total: int | None, closed: bool) -> dict[int, bool]:
        seen = Climbs(climbs, mode)
        if gate := seen.waiting(_GATE):
            return self._through_gate(seen, gate)
        settled = self._has_settled(seen)
        on = set(seen.waiting(_SHORT)) if settled else self._late(seen, total)
        # Once they have settled, there is little to learn from more of them.
        far = max(len(climbs) // (2 * self.factor if settled else self.factor), int(closed))
        on = on or self._best(seen, far, _LONG if settled else _SHORT)
        if on or not closed:
            return dict.fromkeys(on, True)
        if any(climbs[number].ended for number in seen.gone(_FAR)):
            return {}
        # Again where those that went on have come to nothing.
        ends = 1 if settled else max(1, len(seen.at(_FAR)) // _ENDS)
        return dict.fromkeys(seen.ranked(seen.waiting(_FAR), _FAR)[:ends], True)

    def worth(self, climbs: Mapping[int, Climb], mode: Mode, total: int | None) -> dict[int, float]:
        seen = Climbs(climbs, mode)
        if self._has_settled(seen):
            return seen.worth(_LONG)
        lately = total is not None and len(climbs) >= _first_late(total) and seen.gone(_LONG)
        return seen.worth(_FAR if lately else _SHORT, least=_SHORT)

    def _through_gate(self, seen: Climbs, gate: Sequence[int]) -> dict[int, bool]:
        costs = np.sort([seen.cost(number, _GATE) for number in seen.at(_GATE)])
        share = _PASS_SETTLED if self._has_settled(seen) else _PASS
        bar = costs[math.ceil(share * len(costs)) - 1] if len(costs) else -math.inf
        return {number: bool(seen.cost(number, _GATE) <= bar) for number in gate}

    def _has_settled(self, seen: Climbs) -> bool:
        """Whether the best hardly gain any more from the third rung to the fourth."""
        far = seen.at(_FAR)
        if len(far) < _TELLING:
            return False
        costs = np.sort([seen.cost(number, _SHORT) for number in seen.at(_SHORT)])
        gained = min(seen.cost(number, _LONG) for number in far) - min(seen.cost(number, _FAR) for number in far)
        return bool(gained < _SETTLED * (np.median(costs) - costs[0]))

    def _late(self, seen: Climbs, total: int | None) -> set[int]:
        """Of the last trials, those that are as good as one that went on."""
        gone = seen.gone(_LONG)
        if total is None or not gone:
            return set()
        bar = max(seen.cost(number, _SHORT) for number in gone)
        return {number for number in _between(seen) if number >= _first_late(total) and seen.cost(number, _SHORT) <= bar}

    def _best(self, seen: Climbs, far: int, rung: int) -> set[int]:
        """The best that wait, as many as there are too few at the fourth rung or on their way."""
        return set(seen.ranked(_between(seen), rung)[: max(0, far - len(seen.gone(_LONG)))])


def _between(seen: Climbs) -> list[int]:
    """Who has passed the gate, and waits before the fourth rung."""
    return [*seen.waiting(_SHORT), *seen.waiting(_LONG)]


def _first_late(total: int) -> int:
    return total - total // _LATE


def _spaced(most: int) -> tuple[int, ...]:
    rungs: list[int] = []
    for part in _PARTS:
        rungs.append(max(round(part * most), rungs[-1] + 1 if rungs else 1))
    return tuple(rungs)
