"""How trials stand at a rung, and where the rungs are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lightning_hp.bounds import is_list, make_whole, whole_number
from lightning_hp.errors import ConfigError, one_of
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


def rung_at(pruner: Any, index: int, most: int | None) -> int | None:
    """Rung number ``index`` of a pruner with ``first``, ``factor`` and ``rungs``; None if it is not below ``most``.

    Without any there are two, as far as ``most`` has room for them.
    """
    if pruner.rungs is not None:
        at = pruner.rungs[index] if index < len(pruner.rungs) else None
    else:
        at = _first(pruner, most) * pruner.factor**index
    return at if at is not None and (most is None or at < most) else None


def _first(pruner: Any, most: int | None) -> int:
    if pruner.first is not None:
        first: int = pruner.first
        return first
    return max(1, round(most / pruner.factor**2)) if most is not None else 1


def check(pruner: Any) -> None:
    """Raises ConfigError unless a pruner has rungs: ``first`` or ``rungs``, ``factor``, ``unit``. Makes ``rungs`` a tuple."""
    name = type(pruner).__name__
    if pruner.first is not None:
        make_whole(pruner, first=1)
    if pruner.rungs is not None:
        if pruner.first is not None:
            raise ConfigError(
                f"{name} takes first= or rungs=, got first={pruner.first} and rungs={pruner.rungs}: leave one out"
            )
        object.__setattr__(pruner, "rungs", rising(f"{name}(rungs=)", pruner.rungs))
    make_whole(pruner, factor=2)
    one_of(f"{name}(unit=)", pruner.unit, ("epochs", "steps"))


def rising(what: str, rungs: Any) -> tuple[int, ...]:
    """Rungs as whole numbers. Raises ConfigError unless they are some, and rise."""
    if is_list(rungs) and rungs:
        kept = tuple(whole_number(what, each, 1) for each in rungs)
        if all(low < high for low, high in pairwise(kept)):
            return kept
    raise ConfigError(f"{what} needs whole numbers that rise, such as (6, 12), got {rungs!r}")
