"""Tasks whose trials are replayed from tables of trained configurations, in a fraction of a second each.

A trial's curve is the sum of two parts. What its hyperparameters make of it is predicted by extremely randomized trees (Geurts
et al., Machine Learning, 2006) from all configurations of the table, as in the surrogate benchmarks of the literature
(Eggensperger et al., AAAI 2015). What luck makes of it, in the tasks whose names end in "+luck", is taken from a configuration
about as good that was trained several times: one of its curves, relative to their mean. So what a search sees is as noisy as
training is, and what it has found can be judged without the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from functions import FUNCTIONS
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from tasks import TABLES, TASKS

from lightning_hp import Space
from lightning_hp.samplers.evidence import features
from lightning_hp.samplers.quasi import sobol

Array = NDArray[np.float64]

TREES = 60
# Points of the space among which the best is looked for.
LOOKED_AT = 20_000


@dataclass(frozen=True)
class Replayed:
    """A task to replay.

    Attributes:
        space: of its hyperparameters.
        epochs: of a full trial.
        curve: the metric after each epoch at a point of the unit cube, as one training sees it, by a number that decides its
            luck. NaN from where it diverges.
        truth: the best epoch's metric there, without noise.
        optimum: the least that is to be had.
    """

    space: Space
    epochs: int
    curve: Callable[[Array, int], Array]
    truth: Callable[[Array], float]
    optimum: float


@lru_cache(maxsize=1)
def replayed(name: str) -> Replayed:
    """The task of that name."""
    if name in FUNCTIONS:
        function = FUNCTIONS[name]
        return Replayed(function.space, 1, lambda units, luck: np.array([function(units)]), function, 0.0)
    name, lucky = name.removesuffix("+luck"), name.endswith("+luck")
    table = _Table(name, lucky)
    points = np.concatenate([table.units, sobol(len(table.space), 0, range(LOOKED_AT))])
    optimum = float(np.min(table.expected(points).min(axis=1)))
    return Replayed(
        table.space, TASKS[name].epochs, table.curve, lambda units: float(table.expected(units[None]).min()), optimum
    )


class _Table:
    def __init__(self, name: str, lucky: bool) -> None:
        with np.load(TABLES / f"{name}.npz") as arrays:
            units, curves, again = (arrays[key].astype(float) for key in ("units", "curves", "repeated"))
        self.space, self.units = TASKS[name].space, units
        self._points, self._curves = features(self.space, units), curves
        # How bad a bad one is does not matter, and would outweigh all else.
        self._worst = 2 * float(np.nanmedian(curves[:, 0]))
        self._trees = ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=0)
        self._trees.fit(self._points, np.minimum(np.nan_to_num(curves, nan=self._worst), self._worst))
        again = np.log(np.minimum(again[np.isfinite(again).all(axis=(1, 2))], self._worst))
        mean = again.mean(axis=1, keepdims=True)
        # Less a mean of few, their deviations are too small.
        times = again.shape[1]
        self._luck = lucky * (again - mean) * (times / (times - 1)) ** 0.5
        self._lucky = mean[:, 0].min(axis=1)

    def expected(self, units: Array) -> Array:
        # One by one, which for a single point takes a tenth of the forest's own time.
        points = features(self.space, units).astype(np.float32)
        predicted: Array = np.mean([tree.tree_.predict(points)[:, :, 0] for tree in self._trees.estimators_], axis=0)
        return predicted

    def curve(self, units: Array, luck: int) -> Array:
        point = features(self.space, units[None])
        expected = self.expected(units[None])[0]
        alike = int(np.argmin(np.abs(self._lucky - math.log(expected.min()))))
        curve: Any = expected * np.exp(self._luck[alike, luck % self._luck.shape[1]])
        like = self._curves[_nearest(self._points, point)]
        curve[~np.isfinite(like)] = np.nan
        return curve


def _nearest(points: Array, point: Array) -> int:
    return int(np.argmin(((points - point) ** 2).sum(axis=1)))
