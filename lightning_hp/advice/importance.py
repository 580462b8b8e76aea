"""Which hyperparameters matter: how much worse a random forest predicts the trials' values once one of them is shuffled.

Breiman, Random Forests, 2001, by its out-of-bag trials, so that the forest is judged by trials that it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.samplers.evidence import Evidence, features
from lightning_hp.scales import Choice, Scale
from lightning_hp.space import Space

Array = NDArray[np.float64]

TREES, LEAST_LEAF = 100, 3
# Each hyperparameter is shuffled so often, less often where there are more points than this to predict.
SHUFFLES, MOST_POINTS = 8, 50_000
LEAST_TRIALS = 12
# One-sided: that the forest can predict at all, and then that a hyperparameter matters or does not.
PREDICTS, CERTAIN, INTERVAL = 0.95, 0.99, 0.95
# With less than this share it makes little difference. The forest shows shares up to a third too small.
LITTLE = 0.03
# Where the forest explains less than this share, what it does not see may be anything.
EXPLAINS = 0.3


@dataclass(frozen=True)
class Importance:
    """How much a hyperparameter matters.

    Attributes:
        share: of the differences between the trials' values, what is due to it, alone or together with others; an estimate
            that may be below 0. The forest sees less than there is, so it is rather too small than too large.
        low: lower end of the share's 90% interval.
        high: upper end, with what the forest may have overlooked.
        matters: True or False where the trials say so, None where they do not tell. Trials that were stopped early do not tell
            that something makes little difference: it may do so later.
    """

    share: float
    low: float
    high: float
    matters: bool | None

    def __str__(self) -> str:
        told = {True: "matters", False: "makes little difference", None: "cannot tell"}[self.matters]
        return f"{told}: {max(self.share, 0.0):.0%} ({max(self.low, 0.0):.0%} to {max(self.high, 0.0):.0%})"


# Too few trials, or none better than another.
UNKNOWN = Importance(0.0, 0.0, 1.0, None)


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
    from scipy.stats import t

    values = seen.standardized
    groups = np.zeros(count, dtype=np.int64) if groups is None else groups
    there = space.active(space.from_unit(seen.units))
    predicted, shuffled = _predictions(space, seen.units, there, values, groups)
    plain = (values - predicted) ** 2
    # To be beaten: the mean of the other trials.
    untold = (values * count / (count - 1)) ** 2
    gain, doubt = _mean(untold - plain)
    predicts = gain > t.ppf(PREDICTS, count - 1) * doubt
    told = {}
    for name, versions in zip(space, shuffled, strict=True):
        columns = space.layout[name].columns
        own = there[:, columns].any(axis=1)
        variance = float(values[own].var()) if own.any() else 0.0
        if own.sum() < LEAST_TRIALS or not variance:
            told[name] = UNKNOWN
            continue
        errors = ((values - versions) ** 2).mean(axis=0)
        # Shuffling adds twice the variance that is due to it: Gregorutti et al., Correlation and Variable Importance in
        # Random Forests, 2017.
        share, doubt = _mean((errors - plain)[own] / (2 * variance))
        certain = t.ppf(CERTAIN, own.sum() - 1) * doubt
        matters = None
        if predicts and share > certain:
            matters = True
        reach = t.ppf(INTERVAL, own.sum() - 1) * doubt
        missed = _explained_alone(space, name, seen.units, there, values - predicted) / variance
        alone = max(
            _explained_alone(space, name, seen.units, there & (groups == each)[:, None], values) for each in set(groups[own])
        )
        high = min(max(share + reach + missed, alone / variance), 1.0)
        explained = _mean((untold - plain)[own])[0] / variance
        # What those that were stopped would have come to may all be due to it: momentum hardly shows after two epochs.
        later = float((seen.reached[own] < 1).mean())
        if matters is None and predicts and explained > EXPLAINS and high + later < LITTLE:
            matters = False
        told[name] = Importance(share, share - reach, high, matters)
    return told


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


def _explained_alone(space: Space, name: str, units: Array, there: NDArray[np.bool_], rest: Array) -> float:
    """The variance of what a forest has left unexplained that one hyperparameter alone would; of a list the most of any value.

    A forest overlooks a hyperparameter beside stronger ones.
    """
    each = space.layout[name]
    first, *others = each.columns
    # A list's later values may exist in a few trials only, which would explain anything.
    columns = [first, *(column for column in others if there[:, column].sum() >= LEAST_TRIALS)]
    return max(_explained(each.scale, units[there[:, column], column], rest[there[:, column]]) for column in columns)


def _explained(scale: Scale, position: Array, rest: Array) -> float:
    """The variance that a scale's position explains: by a parabola, or of a choice by means."""
    position = position[:, None]
    basis = (
        features(Space({"only": scale}), position)[:, 1:]
        if isinstance(scale, Choice)
        else np.concatenate([position, position**2], axis=1)
    )
    basis = np.concatenate([np.ones((len(rest), 1)), basis], axis=1)
    solved, _, rank, _ = np.linalg.lstsq(basis, rest, rcond=None)
    free = len(rest) - rank
    if free <= 0:
        return float(np.var(rest))
    # Adjusted for what as many terms explain of noise.
    noise = float(((rest - basis @ solved) ** 2).sum()) / free
    variance = float(np.var(rest, ddof=1))
    return variance - noise if variance > noise else 0.0


def _mean(values: Array) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
