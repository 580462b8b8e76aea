"""Random search: every trial is an independent uniform draw of the unit cube.

Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 2012: where few hyperparameters matter, it
finds better values than a grid of as many trials, because no two trials repeat a value of one that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_hp.samplers.rounds import ONE_ROUND
from lightning_hp.seeds import hparams_stream
from lightning_hp.space import Hparams, Space
from lightning_hp.trial import Mode, Trial


@dataclass(frozen=True)
class Random:
    """Draws trial n from (seed, n) alone, so that more trials, another order or a restart change nothing.

    >>> from lightning_hp import Log
    >>> Random().propose(Space({"lr": Log(1e-4, 1.0)}), seed=0, numbers=[5], history=[])
    [{'lr': 0.00141378214643}]
    """

    def propose(
        self, space: Space, seed: int, numbers: Sequence[int], history: Sequence[Trial], mode: Mode = "min"
    ) -> list[Hparams]:
        points = [hparams_stream(seed, number).random(len(space)) for number in numbers]
        return space.from_unit(np.reshape(points, (-1, len(space))))

    def round_of(self, number: int) -> range:
        return ONE_ROUND
