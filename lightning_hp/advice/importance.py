"""Which hyperparameters matter: how much worse a random forest predicts the trials' values once one of them is shuffled.

Breiman, Random Forests, 2001, by its out-of-bag trials, so that the forest is judged by trials that it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.advice.overlooked import LEAST_TRIALS, alone, covered, together, varied
from lightning_hp.samplers.evidence import Evidence, features
from lightning_hp.space import Space

Array = NDArray[np.float64]

TREES, LEAST_LEAF = 100, 3
# Each hyperparameter is shuffled so often, less often where there are more points than this to predict.
SHUFFLES, MOST_POINTS = 8, 50_000
# One-sided: that the forest can predict at all, and then that a hyperparameter matters or does not.
PREDICTS, CERTAIN, INTERVAL = 0.95, 0.99, 0.95
# With less than this share it makes little difference. The forest shows shares up to a third too small.
LITTLE = 0.04
# Where the forest explains less than this share, what it does not see may be anything; and so it may with fewer trials than
# these, in all and for each hyperparameter. Of functions whose shares are known (tests/benchmarks/shares.py).
EXPLAINS, LEAST_FOR_LITTLE, TRIALS_EACH = 0.5, 24, 3


@dataclass(frozen=True)
class Importance:
    """How much a hyperparameter matters.

    Attributes:
        share: of the differences between the trials' values, what is due to it, alone or together with others; an estimate
            that may be below 0. The forest sees less than there is, so it is rather too small than too large.
        low: lower end of the share's 90% interval.
        high: upper end, with what the forest may have overlooked.
        matters: True or False where the trials say so, None where they do not tell. That something makes little difference is
            told only by so many trials, all over its scale, that the forest could have found it. Trials that were stopped
            early do not tell it: it may make one later.
        varied: whether it had more than one value. Of one that did not, nothing is known.
    """

    share: float
    low: float
    high: float
    matters: bool | None
    varied: bool = True

    def __str__(self) -> str:
        if not self.varied:
            return "cannot tell: not varied"
        told = {True: "matters", False: "makes little difference", None: "cannot tell"}[self.matters]
        return f"{told}: {max(self.share, 0.0):.0%} ({max(self.low, 0.0):.0%} to {max(self.high, 0.0):.0%})"


# Too few trials, or none better than another.
UNKNOWN = Importance(0.0, 0.0, 1.0, None)
NOT_VARIED = replace(UNKNOWN, varied=False)


def importance(space: Space, seen: Evidence, groups: NDArray[np.int64] | None = None) -> dict[str, Importance]:
    """The importance of each hyperparameter over the trials' values, with its uncertainty.

    Whether one matters is judged for all of the space as it was searched, by no fewer than 12 trials. What does not exist in
    every trial is judged by those in which it does, and by the differences between these; a list as a whole.

    Args:
        space: of the search.
        seen: what has finished.
        groups: of each trial, those that were proposed together. A hyperparameter is shuffled within these only (Strobl et
            al., Conditional Variable Importance for Random Forests, 2008): a sampler that zooms in moves all hyperparameters
            at a time, so that each of them tells late trials, which are good, from early ones. One group if left out.
    """
    count = len(seen.values)
    if count < LEAST_TRIALS or not seen.tells:
        return dict.fromkeys(space, UNKNOWN)
    values = seen.standardized
    groups = np.zeros(count, dtype=np.int64) if groups is None else groups
    there = space.active(space.from_unit(seen.units))
    predicted, shuffled = _predictions(space, seen.units, there, values, groups)
    fit = _Fit(seen, there, groups, values, predicted)
    return {name: _judged(space, name, fit, versions) for name, versions in zip(space, shuffled, strict=True)}


@dataclass(frozen=True)
class _Fit:
    """Trials, which coordinates exist in them, which were proposed together, their values, and what the forest predicts."""

    seen: Evidence
    there: NDArray[np.bool_]
    groups: NDArray[np.int64]
    values: Array
    predicted: Array

    @cached_property
    def errors(self) -> Array:
        """Of each trial, squared."""
        return (self.values - self.predicted) ** 2

    @cached_property
    def gains(self) -> Array:
        """Of each trial, how much more the mean of the others is wrong than the forest."""
        count = len(self.values)
        return (self.values * count / (count - 1)) ** 2 - self.errors

    @cached_property
    def predicts(self) -> bool:
        gain, doubt = _mean(self.gains)
        return gain > _deviations(PREDICTS, len(self.values)) * doubt


def _judged(space: Space, name: str, fit: _Fit, shuffled: Array) -> Importance:
    """The importance of one hyperparameter, by the forest's predictions with it shuffled."""
    own = fit.there[:, space.layout[name].columns].any(axis=1)
    count = int(own.sum())
    variance = float(fit.values[own].var()) if count else 0.0
    if count < LEAST_TRIALS or not variance:
        return UNKNOWN
    if not varied(space, name, fit.seen.units, fit.there):
        return NOT_VARIED
    errors = ((fit.values - shuffled) ** 2).mean(axis=0)
    # Shuffling adds twice the variance that is due to it: Gregorutti et al., Correlation and Variable Importance in Random
    # Forests, 2017. That is its total effect, alone and together with others, as far as the forest has learned it.
    share, doubt = _mean((errors - fit.errors)[own] / (2 * variance))
    reach = _deviations(INTERVAL, count) * doubt
    missed, seen_alone = _missed(space, name, fit)
    high = min(max(share + reach + missed / variance, seen_alone / variance), 1.0)
    if fit.predicts and share > _deviations(CERTAIN, count) * doubt:
        return Importance(share, share - reach, high, True)
    explained = _mean(fit.gains[own])[0] / variance
    enough = count >= max(LEAST_FOR_LITTLE, TRIALS_EACH * len(space))
    # Without doubt is what no tree has looked at.
    if not (fit.predicts and enough and doubt and explained > EXPLAINS and covered(space, name, fit.seen.units, fit.there)):
        return Importance(share, share - reach, max(high, min(1 - explained, 1.0)), None)
    # What those that were stopped would have come to may all be due to it: momentum hardly shows after two epochs.
    later = float((fit.seen.reached[own] < 1).mean())
    return Importance(share, share - reach, high, False if high + later < LITTLE else None)


def _missed(space: Space, name: str, fit: _Fit) -> tuple[float, float]:
    """The variance that a hyperparameter explains of the forest's errors, which overlooks it beside stronger ones; and that it
    explains alone of the values, in the group where that is most."""
    units, there, rest = fit.seen.units, fit.there, fit.values - fit.predicted
    left = max(alone(space, name, units, there, rest), together(space, name, units, there, rest))
    own = there[:, space.layout[name].columns].any(axis=1)
    groups = [there & (fit.groups == each)[:, None] for each in set(fit.groups[own])]
    return left, max(alone(space, name, units, group, fit.values) for group in groups)


def _predictions(
    space: Space, units: Array, there: NDArray[np.bool_], values: Array, groups: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Out-of-bag predictions, one per trial, and by hyperparameter those with it shuffled, several times."""
    from sklearn.ensemble import RandomForestRegressor

    points, count = features(space, units), len(values)
    forest: Any = RandomForestRegressor(TREES, min_samples_leaf=LEAST_LEAF, random_state=0).fit(points, values)
    generator = np.random.default_rng(0)
    times = int(np.clip(MOST_POINTS // (count * len(space)), 2, SHUFFLES))
    versions = [points]
    for name in space:
        for _ in range(times):
            mixed = _shuffled(space, name, units, there, groups, generator)
            versions.append(features(space, mixed))
    stacked = np.concatenate(versions).astype(np.float32)
    sums, votes = np.zeros((len(versions), count)), np.zeros(count)
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        unseen = np.ones(count)
        unseen[drawn] = 0.0
        sums += tree.tree_.predict(stacked).reshape(len(versions), count) * unseen
        votes += unseen
    predicted = sums / np.maximum(votes, 1)
    return predicted[0], predicted[1:].reshape(len(space), times, count)


def _shuffled(
    space: Space,
    name: str,
    units: Array,
    there: NDArray[np.bool_],
    groups: NDArray[np.int64],
    generator: np.random.Generator,
) -> Array:
    """Positions with one hyperparameter shuffled among the trials in which it exists."""
    mixed: Array = units.copy()
    for column in space.layout[name].columns:
        for group in np.unique(groups):
            rows = (groups == group) & there[:, column]
            mixed[rows, column] = generator.permutation(mixed[rows, column])
    if not any(name in each.parents for each in space.layout.values()):
        return mixed
    # What exists with the new values only has those of other trials, which are no news of this hyperparameter.
    now = space.active(space.from_unit(mixed))
    for column in range(space.dimensions):
        begun, known = now[:, column] & ~there[:, column], units[there[:, column], column]
        if begun.any() and len(known):
            mixed[begun, column] = generator.choice(known, size=begun.sum())
    settled: Array = np.where(now, mixed, 0.5)
    return settled


def _mean(values: Array) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _deviations(certain: float, count: int) -> float:
    """How many standard errors a mean of so many has to lie from another, to be so certain."""
    from scipy.stats import t

    return float(t.ppf(certain, count - 1))
