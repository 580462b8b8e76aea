"""The global random number generators: Python's, numpy's, torch's and the devices'."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities.seed import isolate_rng


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


@lru_cache(maxsize=1)
def seeded_states(seed: int) -> dict[str, Any]:
    """The states that a seed gives. Kept, because setting states takes a fortieth of the time of seeding."""
    with isolate_rng():
        seed_everything(seed, verbose=False)
        return rng_states()
