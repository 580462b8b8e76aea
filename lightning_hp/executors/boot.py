"""The first steps of a process that must not outlive another, before it imports what takes seconds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_hp.executors.lifeline import end_with_parent


def serve(descriptor: int, search: int) -> None:
    """Becomes the fork server of a search.

    Args:
        descriptor: of this end of the socket pair.
        search: the process that it serves.
    """
    end_with_parent(search)
    with uncollected():
        from lightning_hp.executors.server import main
    main(descriptor, search)


def work(scratch: str) -> None:
    """Becomes a worker that is not forked.

    Args:
        scratch: the search's folder for what is temporary.
    """
    with uncollected():
        from lightning_hp.executors.worker import main
    main(scratch)


@contextmanager
def uncollected() -> Iterator[None]:
    """Collects no garbage meanwhile: while a million objects are made to stay, that takes a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
