"""A budget of time, in the forms in which Lightning's Trainer takes ``max_time``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from lightning_hp.bounds import is_any_number
from lightning_hp.errors import ConfigError

_TEXT = re.compile(r"(\d+):(\d+):(\d+):(\d+)")


def seconds(max_time: Any, name: str = "max_time") -> float | None:
    """A time budget in seconds; None for no limit.

    Args:
        max_time: a timedelta, a dict of its arguments, a text ``DD:HH:MM:SS``, or a number of seconds.
        name: of the argument, for the message.

    Raises:
        ConfigError: it is none of these, not above 0, or beyond all measure.

    >>> seconds("00:01:30:00"), seconds({"minutes": 2}), seconds(90)
    (5400.0, 120.0, 90.0)
    """
    if max_time is None:
        return None
    try:
        found = _seconds(max_time)
    except OverflowError:
        raise ConfigError(f"{name} is longer than any clock counts: for no limit leave it out") from None
    if found is None or not 0 < found < math.inf:
        raise ConfigError(
            f"{name} needs seconds above 0, 'DD:HH:MM:SS', or hours and the like by name, such as {{'hours': 12}}, got "
            f"{max_time!r}"
        )
    return found


def _seconds(max_time: Any) -> float | None:
    if isinstance(max_time, timedelta):
        return max_time.total_seconds()
    if isinstance(max_time, str) and (match := _TEXT.fullmatch(max_time)):
        days, hours, minutes, rest = (int(part) for part in match.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=rest).total_seconds()
    if isinstance(max_time, Mapping):
        try:
            return timedelta(**max_time).total_seconds()
        except (TypeError, ValueError):
            return None
    if is_any_number(max_time):
        return float(max_time)
    return None
