"""Whether the settings of signals, policies and the babysitter are what they have to be."""

from __future__ import annotations

import math
from numbers import Integral, Real

from lightning_hp.errors import ConfigError

WHOLE = "a whole number of at least"
POSITIVE = "a finite number above 0"
NOT_NEGATIVE = "a finite number of at least 0"


def check(owner: object, name: str, wanted: str, fine: bool) -> None:
    """Raises a `ConfigError` that names the setting, unless it is fine."""
    if not fine:
        raise ConfigError(f"{type(owner).__name__} needs {name} to be {wanted}, got {getattr(owner, name)!r}")


def check_mode(owner: object) -> None:
    check(owner, "mode", "'min' or 'max'", getattr(owner, "mode") in ("min", "max"))  # noqa: B009


def check_whole(owner: object, name: str, least: int) -> None:
    check(owner, name, f"{WHOLE} {least}", whole(getattr(owner, name), least))


def check_positive(owner: object, *names: str) -> None:
    for name in names:
        check(owner, name, POSITIVE, number(getattr(owner, name), 0, math.inf, above=True, below=True))


def check_not_negative(owner: object, *names: str) -> None:
    for name in names:
        check(owner, name, NOT_NEGATIVE, number(getattr(owner, name), 0, math.inf, below=True))


def whole(value: object, least: int = 0) -> bool:
    """Whether the value is a whole number of at least so much; True is none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def number(value: object, low: float, high: float, *, above: bool = False, below: bool = False) -> bool:
    """Whether the value lies between the two, or strictly ``above`` or ``below`` them; True is no number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    real = float(value)
    return low <= real <= high and not (above and real == low) and not (below and real == high)
