"""Quasi-random search: the points of a scrambled Sobol sequence, which leave no hole and no cluster.

Sobol, 1967; scrambled by Owen's method as in Matousek, On the L2-discrepancy for anchored boxes, 1998. For searches of deep
networks: Bousquet et al., Critical Hyper-Parameters: No Random, No Cry, 2017, and Google's Deep Learning Tuning Playbook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lightning_hp.errors import ConfigError
from lightning_hp.samplers.rounds import ONE_ROUND
from lightning_hp.seeds import sobol_seed
from lightning_hp.space import Hparams, Space
from lightning_hp.trial import Mode, Trial

# Points are made this many at a time.
BLOCK = 4096


@dataclass(frozen=True)
class Quasi:
    """Trial n is point n of the sequence that the seed scrambles, so that more trials keep the first.

    Two to the power of k trials cover the space most evenly.

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
        return space.from_unit(sobol(len(space), sobol_seed(seed), numbers))

    def round_of(self, number: int) -> range:
        return ONE_ROUND


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
