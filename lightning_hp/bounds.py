"""Whether bounds make a scale, whether values and positions belong to it, and what counts as a number."""

from __future__ import annotations

import math
import operator
import sys
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
            raise ConfigError(f"{name} needs finite {wanted}, got {bound}={value!r}{_text_hint(value)}")
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


def whole_number(name: str, value: Any, least: int) -> int:
    """An argument as an int, numpy's whole numbers too. Raises ConfigError unless it is one of at least ``least``.

    >>> whole_number("trials", np.int64(8), 1)
    8
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)) or number < least:
        raise ConfigError(f"{name} needs a whole number of at least {least}, got {value!r}")
    return number


def whole_number_or_none(name: str, value: Any, least: int) -> int | None:
    """The same, where None says that there is no such number."""
    return None if value is None else whole_number(name, value, least)


def check_points(points: int) -> None:
    """Raises ConfigError unless a grid can have so many values of a scale."""
    if isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise ConfigError(f"a grid needs a whole number of points of at least 1, got {points!r}")


def checked_unit(unit: ArrayLike) -> NDArray[np.float64]:
    """Positions as an array. Raises ValueError unless all lie in [0, 1]."""
    u = np.asarray(unit, dtype=np.float64)
    _check_all((u >= 0.0) & (u <= 1.0), u, "is no position in [0, 1]")
    return u


def checked_values(scale: Any, value: Any, whole: bool = False) -> NDArray[np.float64]:
    """Values as an array. Raises ValueError unless all lie between the scale's bounds, and are whole if that is asked."""
    v = np.asarray(value, dtype=np.float64)
    _check_all((v >= scale.low) & (v <= scale.high), v, f"is outside [{scale.low}, {scale.high}]")
    if whole:
        _check_all(v == np.floor(v), v, "is not a whole number")
    return v


def _text_hint(value: Any) -> str:
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
