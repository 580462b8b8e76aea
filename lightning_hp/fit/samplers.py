"""Samplers of the user's in a fit that goes on: brought to where they were.

Torch's draw from the generator that they are given for each epoch. One that keeps a state of its own, such as a generator of
numpy's or the order that it shuffled last, has to go through the epochs that the fit has had: indices only, no data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, Sampler

from lightning_hp.fit.rng import kept_rngs


def go_through(loader: object, epochs: int) -> None:
    """Has a loader's samplers go through so many epochs, if one of them may keep a state and has an end."""
    if epochs == 0 or not isinstance(loader, DataLoader) or all(map(_is_torchs, samplers_in(loader))):
        return
    outermost: Any = loader.batch_sampler if loader.batch_sampler is not None else loader.sampler
    try:
        length = len(outermost)
    except (TypeError, NotImplementedError):
        # Perhaps without an end.
        return
    with kept_rngs():
        for _ in range(epochs):
            # One more, which there is none of, so that it comes to its end.
            deque(islice(iter(outermost), length + 1), maxlen=0)


def samplers_in(part: Any) -> Iterator[Any]:
    """The samplers in a loader, those in others too."""
    for name, each in getattr(part, "__dict__", {}).items():
        if isinstance(each, Sampler) or name.endswith("sampler"):
            yield each
            yield from samplers_in(each)


def _is_torchs(sampler: Any) -> bool:
    return sampler is None or type(sampler).__module__.startswith(("torch.", "lightning."))
