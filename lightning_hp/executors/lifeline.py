"""What ties a process to the one that started it, so that it does not outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Has the system kill this process when its parent dies, where it can."""
    signal_at_end_of(parent, signal.SIGKILL)


def signal_at_end_of(parent: int, number: signal.Signals) -> None:
    """Has the system send a signal to this process when its parent dies, where it can. A parent that is dead ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)
