"""Every seed of a search, as a function of the study's seed and of what it is for: never of order, time or worker."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# First number of each spawn key: one stream per purpose.
_HPARAMS, _TRIAL, _DATA, _EPOCH, _TRIAL_EPOCH = range(5)


def hparams_stream(seed: int, number: int) -> np.random.Generator:
    """The stream from which trial ``number`` draws its hyperparameters."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_HPARAMS, number)))


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


@lru_cache(maxsize=1024)
def _integer(seed: int, *purpose: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=purpose).generate_state(1)[0])
