"""What a search leaves to Python's garbage collector: its own objects, not all that was imported before it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def little_garbage() -> Iterator[None]:
    """Has collections pass over what is there already: to go through that takes as long as many epochs of small networks.

    What this process has set aside before stays as it is.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
