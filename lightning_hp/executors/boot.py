"""The first steps of a process that must not outlive another, before it imports what takes seconds."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1


def serve(descriptor: int, preload: bool, search: int, scratch: str) -> None:
    """Becomes the fork server of a search.

    Args:
        descriptor: of this end of the socket pair.
        preload: import the user's code here, once, and not in every worker.
        search: the process that it serves.
        scratch: the search's folder for what is temporary.
    """
    end_with_parent(search)
    with uncollected():
        from lightning_hp.executors.server import main
    main(descriptor, preload, search, scratch)


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


def end_with_parent(parent: int) -> None:
    """Has the system kill this process when its parent dies, where it can."""
    signal_at_end_of(parent, signal.SIGKILL)


def signal_at_end_of(parent: int, number: signal.Signals) -> None:
    """Has the system send a signal to this process when its parent dies, where it can. A parent that is dead ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)
