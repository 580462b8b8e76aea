"""Where the best point may lie, one hyperparameter at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_hp.samplers.evidence import evidence
from lightning_hp.samplers.region import Belief
from lightning_hp.space import Space
from lightning_hp.space.scales import Choice, Int, LogInt, Scale
from lightning_hp.trial import Mode, Trial

Array = NDArray[np.float64]

# Functions that the objective may be, the points that lines are laid through, and the steps of a line.
DRAWS, STARTS, STEPS = 256, 16, 21
# More trials would make the process slow.
MOST_EVIDENCE = 128
# The range holds this share of the places where they are smallest, the best trials, and a margin.
SHARE, BEST_TRIALS, MARGIN = 0.95, 3, 0.05


@dataclass(frozen=True)
class Range:
    """Where on its scale the best value of a hyperparameter may lie.

    Attributes:
        low: lower end, in the unit coordinate.
        high: upper end.
        chances: of each value of a choice, that the best point has it; empty for other scales.
        worse: of each value of a choice, how likely its trials are so bad by chance.
    """

    low: float
    high: float
    chances: tuple[float, ...] = ()
    worse: tuple[float, ...] = ()


def ranges(space: Space, finished: Sequence[Trial], mode: Mode) -> dict[str, Range]:
    """For each coordinate of the space where its best value may lie, by a Gaussian process over the trials.

    Functions that the objective may be are drawn along one scale at a time, each the mean over lines through the points that
    are expected to be the best: what the other hyperparameters make of it there is in the mean. What does not exist in every
    trial is judged by those in which it does.

    Args:
        space: of the search.
        finished: its finished trials; some are better than others.
        mode: of the objective.
    """
    seen = evidence(space, finished, mode, MOST_EVIDENCE)
    generator = np.random.default_rng(0)
    belief = Belief(space, evidence(space, finished, mode, MOST_EVIDENCE, midway=True), generator)
    promising = np.argsort(belief.posterior(seen.units).mean, kind="stable")
    ranked = np.argsort(seen.values, kind="stable")
    there = space.active(space.from_unit(seen.units))
    found = {}
    for column, (name, scale) in enumerate(space.coordinates.items()):
        starts = seen.units[promising[there[promising, column]][:STARTS]]
        best = ranked[there[ranked, column]][:BEST_TRIALS]
        if not len(starts):
            continue
        steps = _steps(scale)
        lines = np.repeat(starts[:, None], len(steps), axis=1)
        lines[:, :, column] = steps
        points = lines.reshape(-1, space.dimensions)
        # Along the line others begin and cease to exist.
        posterior = belief.posterior(space.to_unit(space.from_unit(points)) if space.conditional else points)
        drawn = posterior.draws(DRAWS, generator).reshape(len(starts), len(steps), DRAWS).mean(axis=0)
        smallest = drawn.argmin(axis=0)
        if isinstance(scale, Choice):
            chances = np.bincount(smallest, minlength=len(steps)) / DRAWS
            own = there[:, column]
            worse = _worse(steps, seen.units[own, column], seen.values[own])
            found[name] = Range(0.0, 1.0, tuple(chances.tolist()), worse)
            continue
        places = steps[smallest]
        low, high = np.quantile(places, [(1 - SHARE) / 2, (1 + SHARE) / 2])
        places = seen.units[best, column]
        low, high = min(low, places.min()) - MARGIN, max(high, places.max()) + MARGIN
        found[name] = Range(max(float(low), 0.0), min(float(high), 1.0))
    return found


def _steps(scale: Scale) -> Array:
    if isinstance(scale, Choice):
        return (np.arange(len(scale.values)) + 0.5) / len(scale.values)
    steps = np.linspace(0, 1, STEPS)
    # The middles of the stretches, where the trials are.
    return np.unique(scale.to_unit(scale.from_unit(steps))) if isinstance(scale, (Int, LogInt)) else steps


def _worse(steps: Array, units: Array, values: Array) -> tuple[float, ...]:
    """For each value of a choice how likely its trials are no better than this, if it made no difference: by rank sums."""
    from scipy.stats import mannwhitneyu

    told = []
    for step in steps:
        there = np.isclose(units, step)
        some = there.any() and not there.all()
        told.append(float(mannwhitneyu(values[there], values[~there], alternative="greater").pvalue) if some else 1.0)
    return tuple(told)
