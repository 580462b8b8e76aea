"""Where the best point may lie, by what has been seen, and where to look next in there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.description import label
from lightning_hp.samplers.evidence import Evidence, features
from lightning_hp.samplers.quasi import scrambled, sobol_hparams
from lightning_hp.samplers.surrogate import Posterior, Surrogate, log_expected_improvement
from lightning_hp.samplers.threads import one_thread
from lightning_hp.space import Space
from lightning_hp.space.scales import Choice, Int, LogInt

Array = NDArray[np.float64]

# Points of the whole space that are looked at, and then of the region; for a large round, so many times its size.
CANDIDATES, CHOICE = 512, 2
# Functions that the objective may be: where each is smallest, the best point may lie.
DRAWS = 64
# Values that differ by less than this, in standard deviations over the trials, are equally good.
ALIKE = 0.02
# So many times the points looked at are made anew, about those that are found lowest.
REFINED = 2
# The region holds this share of these points in each dimension, and a margin on both sides: of its width, and of the space.
SHARE, MARGIN, LEAST_MARGIN = 0.9, 0.1, 0.01
# A dimension that exists in fewer of these points is not narrowed.
LEAST_SHARE = 0.1
# However bad a value of a choice has been, it keeps this share of its equal part.
LEAST_WEIGHT = 0.1
# How near to the best the nearest points are that are looked at, as powers of two of the region's width.
NEAREST = 8
# A region that wide is said not to be narrowed.
WIDE = 0.8


@dataclass(frozen=True)
class Region:
    """A part of the space: from ``low`` to ``high`` in the unit coordinate of each dimension; of a choice, its weights."""

    low: Array
    high: Array
    weights: dict[str, Array]

    def sample(self, space: Space, count: int, seed: int) -> Array:
        """Points of the unit cube that lie evenly in the region."""
        points = self.low + (self.high - self.low) * scrambled(space.dimensions, seed, count)
        for column, (name, scale) in enumerate(space.coordinates.items()):
            if isinstance(scale, Choice):
                # Evenly by weight: what is even in [0, 1] is cut into parts as long as the weights.
                even = (points[:, column] - self.low[column]) / (self.high[column] - self.low[column])
                index = np.searchsorted(np.cumsum(self.weights[name])[:-1], even, side="right")
                points[:, column] = (index + 0.5) / len(scale.values)
        return points

    def holding(self, space: Space, point: Array) -> Region:
        """The region with a point in it, in the coordinates that exist there, and as much about it as its margin."""
        (there,) = _there(space, point[None])
        low = np.where(there, np.minimum(self.low, np.clip(point - LEAST_MARGIN, 0, 1)), self.low)
        high = np.where(there, np.maximum(self.high, np.clip(point + LEAST_MARGIN, 0, 1)), self.high)
        return Region(low, high, self.weights)

    def describe(self, space: Space) -> dict[str, Any]:
        """The region in the user's values, with what there is to say of each dimension."""
        told: dict[str, Any] = {}
        for column, (name, scale) in enumerate(space.coordinates.items()):
            if isinstance(scale, Choice):
                weights = zip(scale.values, self.weights[name].round(3).tolist(), strict=True)
                told[name] = {"weights": {str(label(value)): weight for value, weight in weights}}
            else:
                low, high = float(self.low[column]), float(self.high[column])
                bounds = [scale.from_unit(low), scale.from_unit(high)]
                told[name] = {"low": bounds[0], "high": bounds[1], "unit": [round(low, 4), round(high, 4)]}
                told[name]["reason"] = _reason(low, high)
        return told


@dataclass(frozen=True)
class Zoom:
    """What a round samples.

    Attributes:
        region: where the best point may lie.
        points: of the unit cube, those to try.
        used: how many finished trials it is found by.
    """

    region: Region
    points: Array
    used: int


def zoom(space: Space, seen: Evidence, count: int, generator: np.random.Generator) -> Zoom:
    """The region where the best point may lie, and the points of it that are worth trying next.

    The region is found by Thompson sampling: of functions that the objective may be, each tells where it is smallest. The
    points are those of the largest expected improvement, each chosen as if the ones before had come out as expected
    (Ginsbourger et al., Kriging Is Well-Suited to Parallelize Optimization, 2010).

    Args:
        space: of the search.
        seen: what has finished; some trials are better than others.
        count: how many points.
        generator: of what is drawn.
    """
    with one_thread():
        belief = Belief(space, seen, generator)
        expected = belief.posterior(seen.units).mean
        best = seen.units[np.argmin(expected)]
        region, lowest = _whole(space), best[None]
        for _ in range(2):
            lowest = belief.lowest(_tidied(space, region.sample(space, CANDIDATES, _integer(generator)), count, generator))
            region = _around(space, lowest)
        candidates, half = lowest, max(CANDIDATES, CHOICE * count) // 2
        for _ in range(REFINED):
            inside = region.sample(space, half, _integer(generator))
            near = _near(space, region, np.concatenate([[best], lowest]), half, generator)
            candidates = _tidied(space, np.concatenate([inside, near]), count, generator)
            lowest = belief.lowest(candidates)
        points = candidates[_most_promising(belief.posterior(candidates), float(expected.min()), count)]
        return Zoom(region.holding(space, best), points, len(seen.values))


class Belief:
    """What is believed of the objective of whole trials over the unit cube of a space."""

    def __init__(self, space: Space, seen: Evidence, generator: np.random.Generator) -> None:
        self.space = space
        self.generator = generator
        # How much there is still to come is learnt from those that went on, as if it were one more dimension.
        self._some_stopped = bool((seen.reached < 1).any())
        self._surrogate = Surrogate(self._features(seen.units, seen.reached), seen.values)

    def posterior(self, units: Array) -> Posterior:
        return self._surrogate.posterior(self._features(units, np.ones(len(units))))

    def _features(self, units: Array, reached: Array) -> Array:
        plain = features(self.space, units)
        return np.column_stack([plain, reached]) if self._some_stopped else plain

    def lowest(self, units: Array) -> Array:
        """Of these points those where one or another function that the objective may be is lowest."""
        draws = self.posterior(units).draws(DRAWS, self.generator)
        # In a dimension that hardly matters a slope of nothing would have its end be the best.
        draws += ALIKE * self.generator.standard_normal(draws.shape)
        found: Array = units[draws.argmin(axis=0)]
        return found


def _most_promising(posterior: Posterior, aim: float, count: int) -> list[int]:
    """Which points to try together."""
    picked: list[int] = []
    for _ in range(count):
        gain = log_expected_improvement(posterior, aim)
        gain[picked] = -np.inf
        picked.append(int(gain.argmax()))
        aim = min(aim, float(posterior.mean[picked[-1]]))
        posterior = posterior.once_measured(picked[-1])
    return picked


def _around(space: Space, points: Array) -> Region:
    """The region that holds most of these points in each dimension by itself, by those in which it exists."""
    there = _there(space, points)
    ends = [_ends(points[there[:, column], column], len(points)) for column in range(space.dimensions)]
    low, high = np.transpose(ends)
    margin = MARGIN * (high - low) + LEAST_MARGIN
    weights = {}
    for column, (name, scale) in enumerate(space.coordinates.items()):
        if isinstance(scale, Choice):
            count = len(scale.values)
            own = points[there[:, column], column]
            found = np.bincount(np.minimum((own * count).astype(int), count - 1), minlength=count)
            if len(own):
                weights[name] = (1 - LEAST_WEIGHT) * found / len(own) + LEAST_WEIGHT / count
            else:
                weights[name] = np.full(count, 1 / count)
            low[column], high[column] = 0.0, 1.0
    return Region(np.clip(low - margin, 0, 1), np.clip(high + margin, 0, 1), weights)


def _ends(points: Array, among: int) -> Array:
    """Where most of these points lie in one dimension, which exists in no more than them."""
    if len(points) < LEAST_SHARE * among:
        return np.array([0.0, 1.0])
    ends: Array = np.quantile(points, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return ends


def _near(space: Space, region: Region, best: Array, count: int, generator: np.random.Generator) -> Array:
    """Points about the best ones, half of them about the first, most of them near, each moved in some dimensions."""
    dimensions = space.dimensions
    width = np.maximum(region.high - region.low, 0.05)
    step = 2.0 ** -generator.integers(1, NEAREST + 1, size=(count, 1)) * width
    moved = generator.random((count, dimensions)) < max(0.5, 2 / dimensions)
    centers = best[np.where(generator.random(count) < 0.5, 0, generator.integers(len(best), size=count))]
    if space.conditional:
        # What does not exist there yet may lie anywhere in the region.
        anywhere = region.sample(space, count, _integer(generator))
        centers = np.where(_there(space, centers), centers, anywhere)
    points = np.clip(centers + step * generator.standard_normal((count, dimensions)) * moved, 0, 1)
    for column, (name, scale) in enumerate(space.coordinates.items()):
        if isinstance(scale, Choice):
            others = generator.choice(len(scale.values), size=count, p=region.weights[name])
            swapped = moved[:, column] & (generator.random(count) < 0.5)
            points[:, column] = np.where(swapped, (others + 0.5) / len(scale.values), centers[:, column])
    return points


def _tidied(space: Space, points: Array, least: int, generator: np.random.Generator) -> Array:
    """Points as the trials' own are, without those that break the constraint; if too few are left, with others."""
    if not space.conditional and space.constraint is None:
        return _snapped(space, points)
    hparams = [each for each in space.from_unit(points) if space.allows(each)]
    if len(hparams) < least:
        hparams += sobol_hparams(space, _integer(generator), range(least - len(hparams)))
    return space.to_unit(hparams)


def _there(space: Space, points: Array) -> NDArray[np.bool_]:
    """Which coordinates exist at points."""
    return space.active(space.from_unit(points)) if space.conditional else np.ones(points.shape, dtype=bool)


def _snapped(space: Space, points: Array) -> Array:
    """Points where whole numbers and choices lie in the middle of their stretch, as the trials' own do."""
    points = points.copy()
    for column, scale in enumerate(space.coordinates.values()):
        if isinstance(scale, (Int, LogInt, Choice)):
            points[:, column] = scale.to_unit(scale.from_unit(points[:, column]))
    return points


def _whole(space: Space) -> Region:
    counts = {name: len(scale.values) for name, scale in space.coordinates.items() if isinstance(scale, Choice)}
    weights = {name: np.full(count, 1 / count) for name, count in counts.items()}
    return Region(np.zeros(space.dimensions), np.ones(space.dimensions), weights)


def _reason(low: float, high: float) -> str:
    if high - low >= WIDE:
        return "not narrowed: the best may lie anywhere"
    edge = "the lower end" if low <= 0 else "the upper end" if high >= 1 else None
    share = f"{high - low:.0%} of the scale"
    return f"{share} at {edge}, where the best may lie beyond" if edge else share


def _integer(generator: np.random.Generator) -> int:
    return int(generator.integers(2**31))
