"""When the checkpoints of a fused fit are written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

# Writing takes at most one part in so many of the training's time.
PARTS = 20
# Seconds that a small model's part of a checkpoint takes. What the true ones take is known once they are written.
LEAST = 0.002


class Saving:
    """Says at the end of an epoch whether to write, so that training does not wait for it too often.

    Args:
        trials: how many there are to write.
    """

    def __init__(self, trials: int) -> None:
        self._next = time.monotonic() + PARTS * LEAST * trials

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() >= self._next

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Takes the time of the writing within, by which the next comes sooner or later."""
        began = time.monotonic()
        yield
        now = time.monotonic()
        self._next = now + PARTS * (now - began)
