"""Which line of the user's own code has led to something: that is the one to change."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import TypeAlias

_Line: TypeAlias = tuple[FrameType, int]

_NOT_THE_USERS = frozenset({"lightning_hp", "torch", "lightning"}) | sys.stdlib_module_names
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_FUSED = "lightning_hp.fit.fused"


def users_line(lines: Iterable[_Line]) -> _Line | None:
    """The first line that is of the user's own files; where there is none, of a package that is neither torch nor ours.

    Args:
        lines: with their frames, the innermost first.
    """
    of_package = None
    for frame, number in lines:
        if _module(frame).partition(".")[0] in _NOT_THE_USERS:
            continue
        if _INSTALLED.isdisjoint(Path(frame.f_code.co_filename).parts):
            return frame, number
        of_package = of_package or (frame, number)
    return of_package


def users_line_now() -> _Line | None:
    """The line of a step, run as one for several trials, that has led to a call of the caller; None outside of such steps."""
    inside = takewhile(lambda line: _is_in_step(line[0]), traceback.walk_stack(sys._getframe(2)))
    return users_line(inside)


def _is_in_step(frame: FrameType) -> bool:
    module = _module(frame)
    # The fit that the step is in was begun by others of ours, and these by the user's script.
    return module.startswith(_FUSED) or module.partition(".")[0] != "lightning_hp"


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
