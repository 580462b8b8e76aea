"""What a model of the trials may have overlooked of a hyperparameter: where no trial was, and what it left unexplained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lightning_hp.samplers.evidence import features
from lightning_hp.space import Space
from lightning_hp.space.scales import Choice, Int, LogInt, Scale

Array = NDArray[np.float64]

# A list's later values may exist in a few trials only, which would explain anything.
LEAST_TRIALS = 12
# A scale is covered where each of its parts has at least this share of the trials that it would have if they were even.
PARTS, SOME, STEPS = 3, 0.3, 300


def varied(space: Space, name: str, units: Array, there: NDArray[np.bool_]) -> bool:
    """Whether a hyperparameter had more than one value."""
    return bool(np.ptp(_positions(space, name, units, there)) > 0)


def covered(space: Space, name: str, units: Array, there: NDArray[np.bool_]) -> bool:
    """Whether the trials were all over a hyperparameter's scale: each third of it, or value of a choice, had some of them.

    Where a sampler has zoomed in, nearly all trials are alike, and so are their values.
    """
    scale = space.layout[name].scale
    parts = len(scale.values) if isinstance(scale, Choice) else PARTS
    even: Array = (np.arange(STEPS) + 0.5) / STEPS
    if isinstance(scale, (Int, LogInt)):
        even = scale.to_unit(scale.from_unit(even))
    return bool(np.all(_shares(_positions(space, name, units, there), parts) >= SOME * _shares(even, parts)))


def _shares(positions: Array, parts: int) -> Array:
    """How much of them lies in each part of the scale."""
    # A third of a scale, as a grid has it, may come out a little less.
    index = np.minimum((positions * parts + 1e-9).astype(int), parts - 1)
    return np.bincount(index, minlength=parts) / len(positions)


def alone(space: Space, name: str, units: Array, there: NDArray[np.bool_], rest: Array) -> float:
    """The variance that one hyperparameter explains alone; of a list the most that any of its values does.

    Args:
        space: of the search.
        name: of the hyperparameter.
        units: positions of the trials.
        there: which coordinates exist in which trial.
        rest: to be explained, one number per trial.
    """
    found = []
    for column in _columns(space, name, there):
        own = there[:, column]
        terms = _terms(_scale(space, column), units[own, column])
        found.append(_noise([], rest[own]) - _noise(terms, rest[own]))
    return max(0.0, *found)


def together(space: Space, name: str, units: Array, there: NDArray[np.bool_], rest: Array) -> float:
    """The most of the variance that one hyperparameter explains together with one other, beyond what each does alone.

    Arguments as of `alone`.
    """
    most = 0.0
    for column in _columns(space, name, there):
        for other in set(range(space.dimensions)) - set(space.layout[name].columns):
            both = there[:, column] & there[:, other]
            if both.sum() < LEAST_TRIALS:
                continue
            terms, others = (_terms(_scale(space, each), units[both, each]) for each in (column, other))
            for one, two in product(terms, others):
                most = max(most, _noise([one, two], rest[both]) - _noise([one, two, one * two], rest[both]))
    return most


def _positions(space: Space, name: str, units: Array, there: NDArray[np.bool_]) -> Array:
    return np.concatenate([units[there[:, column], column] for column in space.layout[name].columns])


def _columns(space: Space, name: str, there: NDArray[np.bool_]) -> list[int]:
    first, *others = space.layout[name].columns
    return [first, *(column for column in others if there[:, column].sum() >= LEAST_TRIALS)]


def _scale(space: Space, column: int) -> Scale:
    return list(space.coordinates.values())[column]


def _terms(scale: Scale, position: Array) -> list[Array]:
    """What a scale's position is told by: the terms of a parabola, or of a choice which value it is."""
    if isinstance(scale, Choice):
        return list(features(Space({"only": scale}), position[:, None])[:, 1:].T)
    # About the middle, so that its curve is told apart from its slope.
    return [position - 0.5, (position - 0.5) ** 2]


def _noise(terms: Sequence[Array], rest: Array) -> float:
    """The variance that terms leave, adjusted for what as many would explain of noise."""
    basis = np.stack([np.ones(len(rest)), *terms], axis=1)
    solved, _, rank, _ = np.linalg.lstsq(basis, rest, rcond=None)
    free = len(rest) - rank
    return float(((rest - basis @ solved) ** 2).sum()) / free if free > 0 else 0.0
