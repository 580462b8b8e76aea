"""What datasets and samplers draw from the global generators: a function of a loader's seed and the batch, whoever draws.

Augmentation, and data that shuffle by themselves, draw in the training process or in a loader's worker, whose generators go on
from epoch to epoch. Here the generators are seeded before each batch, where it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

from torch.utils.data import DataLoader

from lightning_hp.fit.rng import seed_cpu_rngs
from lightning_hp.seeds import batch_seed


def seed_loading(loader: DataLoader[Any], seed: int) -> None:
    """Has a loader seed the generators, by this seed and the batch, in all iterators that it makes from now on."""
    if isinstance(loader, _Seeded):
        loader.draws.seed = seed
    else:
        kind: type = type(loader)
        loader.__class__ = _seeded(kind)
        loader.draws = _Draws(seed)


def end_seeding(loader: object) -> None:
    """Gives a loader back as it was."""
    if isinstance(loader, _Seeded):
        loader.__class__ = type(loader).__bases__[1]
        del loader.draws


@dataclass
class _Draws:
    """The seed of what a loader's data draw in the epoch that comes next."""

    seed: int


class _Seeded(DataLoader[Any]):
    """Stands before a loader's own class for the time of a fit."""

    draws: _Draws

    @property
    def _index_sampler(self) -> Any:
        indices = super()._index_sampler
        return _ForWorkers(indices, self.draws) if self.num_workers > 0 else indices

    def __iter__(self) -> Any:
        seed = self.draws.seed
        seed_cpu_rngs(seed)
        # Starts the workers, and may draw the first indices. Not in the generator below, which begins later.
        iterator = super().__iter__()

        def batches() -> Iterator[Any]:
            for batch in count(1):
                seed_cpu_rngs(batch_seed(seed, batch))
                try:
                    yield next(iterator)
                except StopIteration:
                    return

        return batches()


@lru_cache(maxsize=16)
def _seeded(kind: type) -> type:
    return type(kind.__name__, (_Seeded, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


@dataclass
class _ForWorkers:
    """The indices of a loader's batches, each with the seed of its batch."""

    indices: Any
    draws: _Draws

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[_Sealed]:
        seed = self.draws.seed
        return (_Sealed(index, batch_seed(seed, batch)) for batch, index in enumerate(self.indices, start=1))


@dataclass
class _Sealed:
    """Turns into the index itself when it arrives in a worker, whose generators it seeds."""

    index: Any
    seed: int

    def __reduce__(self) -> Any:
        return _opened, (self.index, self.seed)


def _opened(index: Any, seed: int) -> Any:
    seed_cpu_rngs(seed)
    return index
