"""Random search: every trial is an independent uniform draw of the unit cube.

Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 2012: where few hyperparameters matter, it
finds better values than a grid of as many trials, because no two trials repeat a value of one that does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_hp.samplers.rounds import ONE_ROUND
from lightning_hp.seeds import hparams_stream
from lightning_hp.space import Hparams, Space
from lightning_hp.space.constraint import first_met
from lightning_hp.trial import Mode, Trial


@dataclass(frozen=True)
class Random:
    """Draws trial n from (seed, n) alone, so that more trials, another order or a restart change nothing.

    What breaks the space's constraint is drawn again, from the same stream of random numbers.

    >>> from lightning_hp import Log
    >>> Random().propose(Space({"lr": Log(1e-4, 1.0)}), seed=0, numbers=[5], history=[])
    [{'lr': 0.00141378214643}]
    """

    def propose(
        self, space: Space, seed: int, numbers: Sequence[int], history: Sequence[Trial], mode: Mode = "min"
    ) -> list[Hparams]:
        if space.constraint is not None:
            return [first_met(space.constraint, drawn(space, seed, number)) for number in numbers]
        points = [hparams_stream(seed, number).random(space.dimensions) for number in numbers]
        return space.from_unit(np.reshape(points, (-1, space.dimensions)))

    def round_of(self, number: int) -> range:
        return ONE_ROUND


def drawn(space: Space, seed: int, number: int, given: Mapping[str, Any] | None = None) -> Iterator[Hparams]:
    """Endless draws for a trial, whether they meet the constraint or not.

    Args:
        space: where to draw from.
        seed: the study's.
        number: the trial's.
        given: hyperparameters that are not drawn.
    """
    stream = hparams_stream(seed, number)
    while True:
        units = dict(zip(space.coordinates, stream.random(space.dimensions), strict=True))
        values = {name: scale.from_unit(units[name]) for name, scale in space.coordinates.items()}
        yield space.build(values.__getitem__, given)
