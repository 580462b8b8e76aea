"""The global random number generators: Python's, numpy's, torch's and the devices'."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch

# Where Lightning keeps a seed for what it makes later: distributed samplers, and the workers of loaders.
_ENVIRONMENT = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")


@contextmanager
def kept_rngs() -> Iterator[None]:
    """Gives the generators back as they were."""
    states = rng_states()
    try:
        yield
    finally:
        set_rng_states(states)


@contextmanager
def isolated_rngs() -> Iterator[None]:
    """Gives the generators, and the seeds that Lightning keeps in the environment, back as they were."""
    environment = {key: os.environ.get(key) for key in _ENVIRONMENT}
    try:
        with kept_rngs():
            yield
    finally:
        for key, value in environment.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def seed_environment(seed: int) -> None:
    """Tells Lightning the seed of its distributed samplers, and to seed the workers of loaders."""
    os.environ.update(zip(_ENVIRONMENT, (str(seed), "1"), strict=True))


def rng_states() -> dict[str, Any]:
    states: dict[str, Any] = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    # Asking for the states of a device that nobody has used yet would start it.
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_rng_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])


def seed_rngs(seed: int) -> None:
    """Seeds all of them. Like Lightning's seed_everything, but leaves the process's environment alone."""
    seed_cpu_rngs(seed)
    # Without a device it would take a millisecond to note the call stack for each kind that may yet be started.
    if torch.accelerator.is_available():
        torch.manual_seed(seed)


def seed_cpu_rngs(seed: int) -> None:
    """Seeds those of them that are the processor's, in microseconds: once a batch is not too often."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


@lru_cache(maxsize=1)
def seeded_states(seed: int) -> dict[str, Any]:
    """The states that a seed gives. Kept, because setting states takes a fortieth of the time of seeding."""
    with isolated_rngs():
        seed_rngs(seed)
        return rng_states()
