"""The first steps of a process that must not outlive another, before it imports what takes seconds."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def serve(descriptor: int, path: list[str], preload: bool, search: int) -> None:
    """Becomes the fork server of a search.

    Args:
        descriptor: of this end of the socket pair.
        path: the search's ``sys.path``.
        preload: import the user's code here, once, and not in every worker.
        search: the process that it serves.
    """
    end_with_parent(search)
    from lightning_hp.executors.server import main

    main(descriptor, path, preload)


def end_with_parent(parent: int) -> None:
    """Has the system kill this process when its parent dies, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
