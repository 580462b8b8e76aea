"""What a fused fit cannot do, and where in the user's code."""

from __future__ import annotations

import linecache
import traceback
from pathlib import Path

from lightning_hp.fit.users_code import users_line


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
    """The line of the user's code that has led to an error; empty where there is none."""
    line = users_line(reversed(list(traceback.walk_tb(error.__traceback__))))
    if line is None:
        return ""
    frame, number = line
    file = Path(frame.f_code.co_filename)
    code = linecache.getline(str(file), number, frame.f_globals).strip()
    shown = f": {code if len(code) <= _LONGEST_CODE else f'{code[: _LONGEST_CODE - 3]}...'}" if code else ""
    return f"{'/'.join(file.parts[-2:])}, line {number}{shown}"


_LONGEST_CODE = 60
