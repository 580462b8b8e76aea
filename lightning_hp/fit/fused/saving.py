"""When the checkpoints of a fused fit are written, and what they share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from lightning_hp.fit.fused.member import Member

# Writing takes at most one part in so many of the training's time.
PARTS = 20
# Seconds that a trial's part of a checkpoint takes if its model has a few layers. What it truly takes is known after the first.
LEAST = 0.004


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


@contextmanager
def same_progress(members: Sequence[Member]) -> Iterator[None]:
    """Has the loop that members share take down its state once for all checkpoints that are made within, not for each."""
    connectors = [member.trainer._checkpoint_connector for member in members]
    state = cache(connectors[0]._get_loops_state_dict) if connectors else None
    for connector in connectors:
        connector._get_loops_state_dict = state  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for connector in connectors:
            del connector._get_loops_state_dict
