"""Coarse to fine: round after round, trials lie denser where the best may still be.

The first round covers the whole space. From what has finished, each further one fits a model of the objective, asks it where
in every dimension the best point may lie, and samples there: a region that is narrow in the dimensions on which the trials
agree, and as wide as the space in those that they say nothing of. The region is found anew for each round, so that nothing is
lost for good, and it ends where the space ends, so that an edge with the best trials stays in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lightning_hp.bounds import make_whole
from lightning_hp.samplers.evidence import Evidence, evidence
from lightning_hp.samplers.quasi import sobol_hparams
from lightning_hp.samplers.region import Zoom, zoom
from lightning_hp.seeds import round_seed, sobol_seed
from lightning_hp.space import Hparams, Space
from lightning_hp.trial import Mode, Trial

# More trials than this would make the model slow, and those far from the best tell little.
MOST_EVIDENCE = 128


@dataclass(frozen=True)
class CoarseToFine:
    """Quasi-random trials first, then rounds that zoom in on the best, each by all that has finished before it.

    A round depends on nothing but the seed and the results of earlier rounds, whatever the number of workers. Its trials run
    at the same time, so a search with many workers, or whose models train as one, gains by larger rounds; smaller ones need
    fewer trials.

    Args:
        first: trials of the first round, which covers the whole space.
        size: trials of each further round.

    Raises:
        ConfigError: a number below 1.

    >>> from lightning_hp import Log
    >>> space, sampler = Space({"lr": Log(1e-4, 1.0)}), CoarseToFine(first=8, size=4)
    >>> seen = [
    ...     Trial(number, hparams, seed=0, state="complete", value=abs(np.log10(hparams["lr"]) + 1.5))
    ...     for number, hparams in enumerate(sampler.propose(space, seed=0, numbers=range(8), history=[]))
    ... ]
    >>> all(0.01 < each["lr"] < 0.1 for each in sampler.propose(space, seed=0, numbers=range(8, 12), history=seen))
    True
    """

    first: int = 12
    size: int = 6

    def __post_init__(self) -> None:
        make_whole(self, first=1, size=1)

    def round_of(self, number: int) -> range:
        if number < self.first:
            return range(self.first)
        start = number - (number - self.first) % self.size
        return range(start, start + self.size)

    def propose(
        self, space: Space, seed: int, numbers: Sequence[int], history: Sequence[Trial], mode: Mode = "min"
    ) -> list[Hparams]:
        proposed = []
        for number in numbers:
            trials = self.round_of(number)
            found = self._zoom(space, seed, trials.start, history, mode)
            if found is None:
                proposed += sobol_hparams(space, sobol_seed(seed), [number])
            else:
                proposed += space.from_unit(found.points[[number - trials.start]])
        return proposed

    def explain(self, space: Space, seed: int, first: int, history: Sequence[Trial], mode: Mode = "min") -> dict[str, Any]:
        found = self._zoom(space, seed, first, history, mode)
        if found is None:
            return {"region": None, "reason": "no finished trial is better than another: the whole space"}
        return {"region": found.region.describe(space), "trials_used": found.used}

    def _zoom(self, space: Space, seed: int, first: int, history: Sequence[Trial], mode: Mode) -> Zoom | None:
        """What a round samples; None where there is nothing to go by."""
        if first < self.first and not any(trial.number < 0 for trial in history):
            return None
        seen = evidence(space, [trial for trial in history if trial.number < first], mode, MOST_EVIDENCE, midway=True)
        if not seen.tells:
            return None
        return _cached_zoom(_Asked(space, seen), self.round_of(first), round_seed(seed, first))


class _Asked:
    """A space and evidence in it, that can be told from others."""

    def __init__(self, space: Space, seen: Evidence) -> None:
        self.space = space
        self.seen = seen
        # Of two constraints only the same object is known to be the same.
        self._key = repr(space), id(space.constraint), seen.units.tobytes(), seen.values.tobytes(), seen.reached.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


# A round's trials are asked for one by one.
@lru_cache(maxsize=4)
def _cached_zoom(asked: _Asked, trials: range, seed: int) -> Zoom:
    return zoom(asked.space, asked.seen, len(trials), np.random.default_rng(seed))
