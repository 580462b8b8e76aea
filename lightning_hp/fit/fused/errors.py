"""What a fused fit cannot do, and where in the user's code."""

from __future__ import annotations

import linecache
import sys
import traceback
from pathlib import Path


class CannotFuseError(Exception):
    """These models cannot be trained as one.

    Args:
        reason: why, to stand behind ``not fused:``.
        by_numbers: whether it may be for numbers in which the models differ, so that those with the same ones might.
        anew: whether they begin from nothing, since what keeps them apart is not in their checkpoints.
    """

    def __init__(self, reason: str, by_numbers: bool = True, anew: bool = False) -> None:
        super().__init__(reason)
        self.by_numbers = by_numbers
        self.anew = anew


def place_of(error: BaseException) -> str:
    """The line that has led to an error, which the user may know to change.

    The last one of the user's own files; where there is none, of a package that is neither torch nor ours.
    """
    found, is_own = "", False
    for frame, number in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        installed = not _INSTALLED.isdisjoint(file.parts)
        if package in _NOT_THE_USERS or (installed and is_own):
            continue
        code = linecache.getline(str(file), number, frame.f_globals).strip()
        shown = f": {code if len(code) <= _LONGEST_CODE else f'{code[: _LONGEST_CODE - 3]}...'}" if code else ""
        found, is_own = f"{'/'.join(file.parts[-2:])}, line {number}{shown}", not installed
    return found


_NOT_THE_USERS = frozenset({"lightning_hp", "torch", "lightning"}) | sys.stdlib_module_names
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_LONGEST_CODE = 60
