"""The part of a space where fits diverge, if one bound parts it from the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightning_hp.space import Space
from lightning_hp.space.scales import Choice, Int, LogInt, Scale
from lightning_hp.trial import Mode, Trial

Array = NDArray[np.float64]

LEAST_DIVERGED = 3
# The part that is cut off holds at least this share of diverged trials, and of all diverged trials at least this share.
MOSTLY, COVERED = 0.8, 0.75
# So many cuts of one scale are tried at most, each to either side; counting is slow where trials are many.
MOST_CUTS = 512
# How likely so clean a cut may be found by chance, all cuts that were tried taken into account.
CHANCE = 0.01


@dataclass(frozen=True)
class Limit:
    """A part of one scale in which trials diverge.

    Attributes:
        name: the hyperparameter.
        side: ``above`` or ``below`` the position ``unit`` of its scale, or ``at`` the value of a choice.
        value: the bound that avoids it, or the value.
        unit: the bound in the unit coordinate.
        diverged: how many trials diverged there.
        tried: of how many.
        elsewhere: how many diverged in the rest of the scale.
    """

    name: str
    side: Literal["above", "below", "at"]
    value: Any
    unit: float
    diverged: int
    tried: int
    elsewhere: int


def limit(space: Space, trials: Sequence[Trial], mode: Mode = "min") -> Limit | None:
    """The one cut that parts the diverged trials from the others best; None where none does so beyond chance.

    The cut is a stump of a decision tree, judged by Fisher's exact test and corrected for all the cuts there are.

    Args:
        space: of the search.
        trials: any; those that failed or have not finished say nothing.
        mode: of the objective, since the best trial is never cut off.
    """
    told = [trial for trial in trials if trial.state in ("complete", "pruned", "diverged")]
    bad = np.array([trial.state == "diverged" for trial in told], dtype=bool)
    if bad.sum() < LEAST_DIVERGED or bad.all():
        return None
    from scipy.stats import hypergeom

    units = space.to_unit([trial.hparams for trial in told])
    best = _best(told, mode)
    there = space.active([trial.hparams for trial in told])
    cuts = [
        cut
        for column, (name, scale) in enumerate(space.coordinates.items())
        for cut in _cuts(name, scale, units[:, column], there[:, column], bad, best)
    ]
    if not cuts:
        return None
    chances = [float(hypergeom.sf(cut.diverged - 1, len(bad), int(bad.sum()), cut.tried)) for cut in cuts]
    cleanest = int(np.argmin(chances))
    cut = cuts[cleanest]
    if chances[cleanest] * len(cuts) > CHANCE or cut.diverged < MOSTLY * cut.tried or cut.diverged < COVERED * bad.sum():
        return None
    return cut


def _best(trials: Sequence[Trial], mode: Mode) -> int:
    values = [math.inf if trial.value is None or not math.isfinite(trial.value) else trial.value for trial in trials]
    costs = [value if mode == "min" or value == math.inf else -value for value in values]
    return costs.index(min(costs))


def _cuts(
    name: str, scale: Scale, units: Array, exists: NDArray[np.bool_], bad: NDArray[np.bool_], best: int
) -> Iterator[Limit]:
    """The cuts of one scale that leave the best trial where it is, or of those in which it exists."""
    places = np.unique(units[exists])
    if isinstance(scale, Choice):
        for place in places[places != units[best]] if exists[best] else places:
            yield _limit(name, "at", scale.from_unit(place), place, exists & (units == place), bad)
        return
    gaps = [*pairwise(places)]
    for (low, high), above in product(gaps[:: math.ceil(len(gaps) / MOST_CUTS) or 1], (True, False)):
        if exists[best] and above != (units[best] <= low):
            continue
        if isinstance(scale, (Int, LogInt)):
            value = scale.from_unit(low if above else high)
        else:
            value = _between(scale.from_unit(low), scale.from_unit(high), scale.from_unit((low + high) / 2))
        there = exists & (units > low if above else units < high)
        yield _limit(name, "above" if above else "below", value, scale.to_unit(value), there, bad)


def _between(low: float, high: float, middle: float) -> float:
    """The number between two with the fewest digits, near the middle.

    >>> _between(0.2734, 0.3512, 0.3099)
    0.3
    """
    rounded = (float(f"{middle:.{digits}g}") for digits in range(1, 13))
    return next((value for value in rounded if low < value < high), middle)


def _limit(name: str, side: Any, value: Any, unit: float, there: NDArray[np.bool_], bad: NDArray[np.bool_]) -> Limit:
    inside = int((bad & there).sum())
    return Limit(name, side, value, float(unit), inside, int(there.sum()), int(bad.sum()) - inside)
