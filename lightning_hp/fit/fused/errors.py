"""What a fused fit cannot do, and where in the user's code."""

from __future__ import annotations

import linecache
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
    """The line that has led to an error: the last one that is neither torch's nor ours, which the user may know to change."""
    found = ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _NOT_THE_USERS:
            continue
        file = Path(frame.f_code.co_filename)
        code = linecache.getline(str(file), number, frame.f_globals).strip()
        shown = f": {code if len(code) <= _LONGEST_CODE else f'{code[: _LONGEST_CODE - 3]}...'}" if code else ""
        found = f"{'/'.join(file.parts[-2:])}, line {number}{shown}"
    return found


# Of contextlib are the decorators of others, such as no_grad's.
_NOT_THE_USERS = frozenset({"lightning_hp", "torch", "lightning", "contextlib"})
_LONGEST_CODE = 60
