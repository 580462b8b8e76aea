"""A place in a notebook's output that shows something and is shown anew, without widgets, so that every frontend has it."""

from __future__ import annotations

import time
from typing import Any

# Seconds from one picture to the next: each goes through the notebook's server.
INTERVAL = 0.5


class Place:
    """Shows one thing in the cell that runs, always at the same place. It appears at the first call."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = -INTERVAL

    def show(self, thing: Any, at_once: bool = False) -> None:
        """Shows something that has a rich representation, unless it has just done so.

        Args:
            thing: anything that IPython displays.
            at_once: whatever has been shown just now.
        """
        if not at_once and time.monotonic() - self._shown < INTERVAL:
            return
        self._shown = time.monotonic()
        if self._handle is None:
            from IPython.display import display

            self._handle = display(thing, display_id=True)
        else:
            self._handle.update(thing)
