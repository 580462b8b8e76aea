"""How trials stand at a rung, and where rungs are that lie ever further apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_hp.bounds import whole_number
from lightning_hp.errors import one_of
from lightning_hp.trial import Mode


@dataclass(frozen=True)
class Standing:
    """How a trial stands at a rung.

    Attributes:
        value: the best that its objective had there; None for one that has failed, diverged or logged none, and the worst.
        goes_on: whether it goes on, where that has been decided.
    """

    value: float | None
    goes_on: bool | None = None


def ranking(standings: Mapping[int, Standing], mode: Mode) -> list[int]:
    """The numbers of those that have a value, best first; equals by number.

    >>> ranking({2: Standing(0.5), 1: Standing(0.5), 0: Standing(None), 3: Standing(0.9)}, "max")
    [3, 1, 2]
    """
    sign = -1.0 if mode == "max" else 1.0
    ranked = [
        (sign * each.value, number)
        for number, each in standings.items()
        if each.value is not None and not math.isnan(each.value)
    ]
    return [number for _, number in sorted(ranked)]


def judge_by_rank(standings: Mapping[int, Standing], factor: int, mode: Mode) -> dict[int, bool]:
    """Has one in ``factor`` go on, at least the best, and decides about all that are undecided.

    >>> judge_by_rank({0: Standing(0.5, goes_on=True), 1: Standing(0.4), 2: Standing(0.6), 3: Standing(None)}, 3, "max")
    {1: False, 2: True, 3: False}
    """
    best = set(ranking(standings, mode)[: max(1, len(standings) // factor)])
    return {number: number in best for number, each in standings.items() if each.goes_on is None}


def geometric_rung(first: int | None, factor: int, index: int, most: int | None) -> int | None:
    """Rung number ``index`` of those at first, first * factor and so on; None if it is not below ``most``.

    Without ``first`` there are two rungs, as far as ``most`` has room for them.

    >>> [geometric_rung(1, 3, index, most=10) for index in range(4)]
    [1, 3, 9, None]
    >>> [geometric_rung(None, 4, index, most=27) for index in range(3)]
    [2, 8, None]
    """
    if first is None:
        first = max(1, round(most / factor**2)) if most is not None else 1
    at = first * factor**index
    return at if most is None or at < most else None


def check(pruner: Any) -> None:
    """Raises ConfigError unless a pruner has rungs: ``first``, ``factor`` and ``unit``."""
    name = type(pruner).__name__
    if pruner.first is not None:
        whole_number(f"{name}(first=)", pruner.first, 1)
    whole_number(f"{name}(factor=)", pruner.factor, 2)
    one_of(f"{name}(unit=)", pruner.unit, ("epochs", "steps"))
