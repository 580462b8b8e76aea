"""Whether bounds make a scale, whether values and positions belong to it, and what counts as a number."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_hp.errors import ConfigError

# Of the larger bound: a range that rounding would eat up is no range.
MIN_SPAN = 1e-9
# Floats not far below have fewer and fewer digits.
NORMAL = 1e-280


def check_bounds(scale: Any, kind: type, size: float = NORMAL) -> None:
    """Makes a scale's low and high plain numbers of a kind (int or float), or says what is wrong with them.

    Args:
        scale: a frozen dataclass with ``low`` and ``high``.
        kind: int or float.
        size: of the numbers that the scale works with, where they are larger than the bounds.

    Raises:
        ConfigError: a bound is no finite number of that kind, or they are not in order, or too near to each other.
    """
    name, wanted = type(scale).__name__, "whole numbers" if kind is int else "numbers"
    for bound in ("low", "high"):
        value = getattr(scale, bound)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise ConfigError(f"{name} needs {wanted} that a float can hold, got a {bound} of more than 308 digits")
        if not is_number(value) or not math.isfinite(value):
            raise ConfigError(f"{name} needs finite {wanted}, got {bound}={value!r}{text_hint(value)}")
        if kind is int and value != int(value):
            raise ConfigError(f"{name} needs {wanted}, got {bound}={value!r}")
        object.__setattr__(scale, bound, kind(value))
    if scale.low >= scale.high:
        raise ConfigError(f"{name} needs low < high, {got(scale)}")
    if kind is float and scale.high - scale.low < MIN_SPAN * max(abs(scale.low), abs(scale.high), size):
        raise ConfigError(f"{name} needs bounds that differ by more than a part in 10**9, {got(scale)}")


def got(scale: Any) -> str:
    """A scale's bounds, for a message."""
    return f"got low={scale.low!r}, high={scale.high!r}"


def is_number(value: Any) -> bool:
    """Whether a value is one of Python's numbers; True is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_any_number(value: Any) -> bool:
    """Whether a value is one of Python's or numpy's numbers; True is none."""
    return _of_numbers(type(value))


def make_whole(owner: Any, **least: int) -> None:
    """Makes fields of a frozen dataclass ints, each of at least so much. Raises ConfigError where one is no such number."""
    for name, at_least in least.items():
        made = whole_number(f"{type(owner).__name__}({name}=)", getattr(owner, name), at_least)
        object.__setattr__(owner, name, made)


def is_list(value: Any) -> bool:
    """Whether a value is several in order: a list, a tuple, or what a library of configs makes of one; text is none."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def whole_number(name: str, value: Any, least: int) -> int:
    """An argument as an int, numpy's whole numbers too. Raises ConfigError unless it is one of at least ``least``.

    >>> whole_number("trials", np.int64(8), 1)
    8
    """
    if not is_whole(value, least):
        raise ConfigError(f"{name} needs a whole number of at least {least}, got {value!r}")
    return operator.index(value)


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is a whole number, numpy's too, of at least ``least``; True is none."""
    try:
        return operator.index(value) >= least and not isinstance(value, (bool, np.bool_))
    except TypeError:
        return False


def whole_number_or_none(name: str, value: Any, least: int) -> int | None:
    """The same, where None says that there is no such number."""
    return None if value is None else whole_number(name, value, least)


def folder(name: str, value: Any) -> Path:
    """An argument as the path of a folder. Raises ConfigError unless it can be one of this machine's.

    >>> folder("root_dir", "runs/digits").name
    'digits'
    """
    return place(name, value, "a folder")


def place(name: str, value: Any, what: str) -> Path:
    """An argument as a path on this machine. Raises ConfigError, with what is wanted there, unless it can be one."""
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise ConfigError(f"{name} needs the name of {what}, got {value!r}")
    if "://" in path:
        raise ConfigError(f"{name} needs {what} that this machine sees, got the URL {value!r}")
    return Path(path).expanduser()


def switch(name: str, value: Any) -> bool:
    """An argument that is on or off. Raises ConfigError unless it is: the text 'no' would be on."""
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigError(f"{name} needs True or False, got {value!r}")
    return bool(value)


def checked_unit(unit: ArrayLike) -> NDArray[np.float64]:
    """Positions as an array. Raises ValueError unless all lie in [0, 1]."""
    u = np.asarray(unit, dtype=np.float64)
    _check_all((u >= 0.0) & (u <= 1.0), u, "is no position in [0, 1]")
    return u


def checked_values(scale: Any, value: Any, whole: bool = False) -> NDArray[np.float64]:
    """Values as an array. Raises ValueError unless all are numbers between the scale's bounds, and whole if that is asked."""
    v = _numbers(value)
    _check_all((v >= scale.low) & (v <= scale.high), v, f"is outside [{scale.low}, {scale.high}]")
    if whole:
        _check_all(v == np.floor(v), v, "is not a whole number")
    return v


def _numbers(value: Any) -> NDArray[np.float64]:
    v = np.asarray(value)
    if v.dtype.kind not in "iuf":
        # numpy would take text for the number that it spells, True for 1 and None for NaN.
        each = np.ravel(np.asarray(value, dtype=object)).tolist()
        if not all(map(_of_numbers, set(map(type, each)))):
            wrong = next(one for one in each if not is_any_number(one))
            raise ValueError(f"{wrong!r} is not a number{text_hint(wrong)}")
    return v.astype(np.float64, copy=False)


def _of_numbers(kind: type) -> bool:
    return issubclass(kind, (int, float, np.integer, np.floating)) and kind is not bool


def text_hint(value: Any) -> str:
    """What to do about a number that is written as text, to stand behind a message; nothing for any other value."""
    try:
        float(value)
    except (TypeError, ValueError):
        return ""
    if not isinstance(value, str):
        return ""
    return ", which is text: write it without quotes, 1e-4 as 1.0e-4 where a YAML reader needs the point"


def _check_all(fine: NDArray[np.bool_], values: NDArray[np.float64], wrong: str) -> None:
    if not np.all(fine):
        raise ValueError(f"{np.extract(~fine, values)[0].item()!r} {wrong}")
