"""Quasi-random search: the points of a scrambled Sobol sequence, which leave no hole and no cluster.

Sobol, 1967; scrambled by Owen's method as in Matousek, On the L2-discrepancy for anchored boxes, 1998. For searches of deep
networks: Bousquet et al., Critical Hyper-Parameters: No Random, No Cry, 2017, and Google's Deep Learning Tuning Playbook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from lightning_hp.errors import ConfigError
from lightning_hp.samplers.identity import Identity
from lightning_hp.samplers.rounds import ONE_ROUND
from lightning_hp.seeds import sobol_seed
from lightning_hp.space import Hparams, Space
from lightning_hp.space.constraint import first_met
from lightning_hp.trial import Mode, Trial

# Points are made this many at a time.
BLOCK = 4096


@dataclass(frozen=True)
class Quasi:
    """Trial n is point n of the sequence that the seed scrambles, so that more trials keep the first.

    Two to the power of k trials cover the space most evenly. With a constraint, trial n is the n-th of the points that meet it.

    Raises:
        ConfigError: when the search starts, there are more hyperparameters than the sequence has dimensions (21,201).

    >>> from lightning_hp import Log
    >>> lrs = [each["lr"] for each in Quasi().propose(Space({"lr": Log(1e-4, 1.0)}), seed=0, numbers=range(4), history=[])]
    >>> sorted(int(-np.log10(lr)) for lr in lrs)  # one in each decade
    [0, 1, 2, 3]
    """

    def propose(
        self, space: Space, seed: int, numbers: Sequence[int], history: Sequence[Trial], mode: Mode = "min"
    ) -> list[Hparams]:
        return sobol_hparams(space, sobol_seed(seed), numbers)

    def round_of(self, number: int) -> range:
        return ONE_ROUND


def sobol_hparams(space: Space, seed: int, numbers: Sequence[int]) -> list[Hparams]:
    """Hyperparameters at points of a scrambled Sobol sequence, or at those of its points that meet the constraint.

    Args:
        space: of the search.
        seed: of the scrambling.
        numbers: of the points, ascending.

    Raises:
        ConfigError: 10,000 points in a row break the constraint.
    """
    if space.constraint is not None:
        walk = _walk(Identity(space), seed)
        return [walk[number] for number in numbers]
    return space.from_unit(sobol(space.dimensions, seed, numbers))


def sobol(dimensions: int, seed: int, numbers: Sequence[int]) -> NDArray[np.float64]:
    """Points of a scrambled Sobol sequence, of shape (len(numbers), dimensions).

    Args:
        dimensions: of the unit cube.
        seed: of the scrambling.
        numbers: of the points, ascending.
    """
    points = np.empty((len(numbers), dimensions))
    wanted = np.asarray(numbers, dtype=np.int64)
    blocks = wanted // BLOCK
    for block in np.unique(blocks):
        here = blocks == block
        points[here] = _block(dimensions, seed, int(block))[wanted[here] % BLOCK]
    return points


@lru_cache(maxsize=8)
def _block(dimensions: int, seed: int, block: int) -> NDArray[np.float64]:
    return scrambled(dimensions, seed, BLOCK, block * BLOCK)


def scrambled(dimensions: int, seed: int, count: int, skipped: int = 0) -> NDArray[np.float64]:
    """The points of the sequence that come after so many."""
    # Here, since it takes seconds to import and other samplers do without.
    import torch
    from torch.quasirandom import SobolEngine

    if dimensions > SobolEngine.MAXDIM:
        raise ConfigError(f"quasi takes at most {SobolEngine.MAXDIM} hyperparameters, the space has {dimensions}: take random")
    engine = SobolEngine(dimensions, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    engine.fast_forward(skipped)  # type: ignore[no-untyped-call]
    points: NDArray[np.float64] = engine.draw(count, dtype=torch.float64).numpy()
    return points


class _Walk:
    """The points of a sequence that meet a constraint, found as far as they are asked for."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._met: list[Hparams] = []
        self._points = (space.from_unit(sobol(space.dimensions, seed, [number]))[0] for number in count())

    def __getitem__(self, number: int) -> Hparams:
        assert self._space.constraint is not None
        while len(self._met) <= number:
            self._met.append(first_met(self._space.constraint, self._points))
        return dict(self._met[number])


# Trials are asked for one by one.
@lru_cache(maxsize=4)
def _walk(key: Identity, seed: int) -> _Walk:
    return _Walk(key.space, seed)
