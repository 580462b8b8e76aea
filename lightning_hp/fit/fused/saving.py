"""When the checkpoints of a fused fit are written."""

from __future__ import annotations

import time
from collections.abc import Iterable

from lightning_hp.fit.fused.member import Member

# Writing takes at most one part in so many of the training's time.
PARTS = 20


class Saving:
    """Writes all members' checkpoints at the end of an epoch, but not so often that training waits for it."""

    def __init__(self) -> None:
        self._due = time.monotonic()

    def save(self, members: Iterable[Member]) -> None:
        """Writes them if it is time."""
        began = time.monotonic()
        if began < self._due:
            return
        for member in members:
            member.write_last()
        now = time.monotonic()
        self._due = now + PARTS * (now - began)
