"""How a search is interrupted: asked once, it ends in order; asked twice, at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(hint: str | None = None) -> Iterator[None]:
    """Makes SIGTERM what Ctrl-C is, a `KeyboardInterrupt`, and the second of either the end of this process.

    Whenever a process ends, its study is whole. Away from the main thread, where Python takes no signals, nothing changes.

    Args:
        hint: printed before a `KeyboardInterrupt` goes on from here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def once(number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, at_once)
        raise KeyboardInterrupt

    def at_once(number: int, frame: FrameType | None) -> None:
        os._exit(128 + number)

    for number in _SIGNALS:
        signal.signal(number, once)
    try:
        yield
    except KeyboardInterrupt:
        if hint is not None:
            print(hint, file=sys.stderr, flush=True)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
