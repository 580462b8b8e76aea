"""Every seed of a search, as a function of the study's seed and of what it is for: never of order, time or worker."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# First number of each spawn key: one stream per purpose.
_HPARAMS, _TRIAL, _DATA, _EPOCH, _TRIAL_EPOCH, _LOADERS, _LOADING, _SOBOL, _ROUND, _PROPOSAL = range(10)


def hparams_stream(seed: int, number: int) -> np.random.Generator:
    """The stream from which trial ``number`` draws its hyperparameters."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_HPARAMS, number)))


def sobol_seed(seed: int) -> int:
    """The seed that scrambles the points of a quasi-random search."""
    return _integer(seed, _SOBOL)


def round_seed(seed: int, first: int) -> int:
    """The seed of what a sampler draws to propose the round that begins with trial ``first``."""
    return _integer(seed, _ROUND, first)


def proposal_seed(seed: int, number: int, attempt: int = 0) -> int:
    """The seed of what another package's sampler draws to propose trial ``number``, or to propose it once more."""
    return _integer(seed, _PROPOSAL, number, *([attempt] if attempt else []))


def trial_seed(seed: int, number: int) -> int:
    """The seed of trial ``number``: its weights, dropout and the like. In [0, 2**32), as Lightning's seed_everything needs.

    >>> trial_seed(0, 5) == trial_seed(0, 5) != trial_seed(1, 5)
    True
    """
    return _integer(seed, _TRIAL, number)


def data_seed(seed: int) -> int:
    """The seed under which the data are made: one for the study, so that all trials see the same split."""
    return _integer(seed, _DATA)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of the batch order in an epoch: the same for all trials of a study."""
    return _integer(seed, _EPOCH, epoch)


def trial_epoch_seed(seed: int, epoch: int) -> int:
    """The seed of a trial's random numbers in an epoch (dropout and the like), from the trial's seed."""
    return _integer(seed, _TRIAL_EPOCH, epoch)


def loaders_seed(seed: int, epoch: int) -> int:
    """The seed under which the loaders are made that are in use from an epoch on: the same for all trials of a study."""
    return _integer(seed, _LOADERS, epoch)


def loading_seed(seed: int, epoch: int, rank: int, loader: int) -> int:
    """The seed of what a loader's datasets draw in an epoch (augmentation): the same for all trials of a study."""
    return _integer(seed, _LOADING, epoch, rank, loader)


def batch_seed(epoch: int, batch: int) -> int:
    """The seed of one batch, from that of its epoch. No two batches of an epoch have the same.

    >>> batch_seed(5, 0), batch_seed(5, 1), batch_seed(5, -1)
    (5, 2654435766, 1640531540)
    """
    # An odd number, by the golden ratio, which spreads over all 32 bits. A SeedSequence would take as long as the batch.
    return (epoch + batch * 0x9E3779B1) % 2**32


@lru_cache(maxsize=1024)
def _integer(seed: int, *purpose: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=purpose).generate_state(1)[0])
