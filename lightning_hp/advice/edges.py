"""Whether the best trials lie at an end of a scale, so that better ones may lie beyond."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_hp.samplers.evidence import Evidence
from lightning_hp.space import Space
from lightning_hp.space.scales import Choice

Array = NDArray[np.float64]

# The best trials are so many of all, and crowd at an end where this outermost part of the scale holds more than by chance.
TOP, OUTERMOST = 0.25, 0.2
# The part in which values shall improve towards the end. In the larger one that a slope needs, a best point well inside the
# space would look like one beyond it.
SLOPE = 0.4
# How likely it may be by chance that the best trials crowd so, and that values improve so.
CROWDED, IMPROVES = 0.05, 0.1
LEAST_TRIALS = 6


def edges(space: Space, seen: Evidence) -> list[tuple[str, bool]]:
    """The ends at which the best trials lie, by name and whether it is the upper one.

    Two tests have to say so. By the hypergeometric distribution more of the best quarter of the trials lie in the outermost
    fifth of the scale than if it were by chance which trials are the best; since the trials are taken where they are, a sampler
    that has put many there already misleads nobody. And near the end values improve towards it, by the slope of a line.

    Neither knows how many hyperparameters were looked at: ask only about those that matter. A best point in the last tenth of
    the scale cannot be told from one beyond.
    """
    found = []
    there = space.active(space.from_unit(seen.units))
    for name, each in space.layout.items():
        for upper in (False, True) if not isinstance(each.scale, Choice) else ():
            # Of a list most of the values that trials have must lie there.
            lies = [
                _lies_there(1 - seen.units[own, column] if upper else seen.units[own, column], seen.values[own])
                for column in each.columns
                if (own := there[:, column]).sum() >= LEAST_TRIALS
            ]
            if sum(lies) * 2 > len(lies):
                found.append((name, upper))
    return found


def _lies_there(units: Array, values: Array) -> bool:
    """Whether the best trials lie at position 0, and become better towards it."""
    return _crowded(units, values) < CROWDED and _improves(units, values)


def _crowded(units: Array, values: Array) -> float:
    """How likely so many of the best trials lie near position 0 by chance."""
    from scipy.stats import hypergeom

    # Of whole numbers the outermost at least.
    outermost = units <= max(OUTERMOST, float(units.min()))
    top = np.argsort(values, kind="stable")[: max(int(np.ceil(TOP * len(values))), 3)]
    return float(hypergeom.sf(int(outermost[top].sum()) - 1, len(values), int(outermost.sum()), len(top)))


def _improves(units: Array, values: Array) -> bool:
    """Whether values fall towards position 0, from nearby."""
    from scipy.stats import linregress

    places = np.unique(units)
    near = units <= max(SLOPE, float(places[min(1, len(places) - 1)]))
    if near.sum() < LEAST_TRIALS or len(np.unique(units[near])) < 2:
        return False
    return bool(linregress(units[near], values[near], alternative="greater").pvalue < IMPROVES)
