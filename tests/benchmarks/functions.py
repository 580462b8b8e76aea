"""Functions of the literature on the axes of hyperparameters, each less its minimum, so that the best value is 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_hp import Linear, Log, ReverseLog, Space

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Function:
    """A function of the unit cube, and the space whose scales its coordinates are."""

    space: Space
    of_units: Callable[[Array], float]

    def __call__(self, units: Array) -> float:
        return self.of_units(units)


def branin(u: Array) -> float:
    """Branin, 1972: three minima of the same depth."""
    x, y = 15 * u[0] - 5, 15 * u[1]
    bowl = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return float(bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.39788736)


_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(u: Array) -> float:
    """Hartmann, 1972, in six dimensions."""
    return float(3.32236801 - _ALPHA @ np.exp(-(_A * (u - _P) ** 2).sum(axis=1)))


def rosenbrock(u: Array) -> float:
    """Rosenbrock, 1960, in four dimensions, as log(1 + f): a curved valley."""
    x = 4 * u - 2
    return float(np.log1p((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()))


def valley(u: Array) -> float:
    """A step size and a momentum that must fit each other, beyond which all diverges, and two that hardly matter."""
    effective = u[0] + 0.5 * u[1]
    if effective > 1.0:
        return math.nan
    return float(
        1 - np.exp(-(8 * (effective - 0.9) ** 2 + 2 * (u[1] - 0.6) ** 2 + 0.1 * (u[2] - 0.3) ** 2 + 0.02 * (u[3] - 0.8) ** 2))
    )


_AXES = {
    "lr": Log(1e-5, 1.0),
    "momentum": ReverseLog(0.5, 0.999),
    "weight_decay": Log(1e-6, 1e-1),
    "dropout": Linear(0.0, 0.5),
    "beta2": ReverseLog(0.9, 0.9999),
    "warmup": Linear(0.0, 0.2),
}


def _axes(count: int) -> Space:
    return Space(dict(list(_AXES.items())[:count]))


FUNCTIONS = {
    "branin": Function(_axes(2), branin),
    "hartmann": Function(_axes(6), hartmann),
    "rosenbrock": Function(_axes(4), rosenbrock),
    "valley": Function(_axes(4), valley),
}
