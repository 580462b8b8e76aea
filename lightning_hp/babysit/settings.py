"""What the settings of signals, policies and the babysitter have to be."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from lightning_hp.bounds import is_any_number, is_whole
from lightning_hp.errors import ConfigError


class Rule(NamedTuple):
    """What a setting has to be: in words, and whether a value is that."""

    wanted: str
    holds: Callable[[Any], bool]


def whole(least: int = 0) -> Rule:
    """A whole number of at least so much; True is none."""
    return Rule(f"a whole number of at least {least}", partial(is_whole, least=least))


def _number(wanted: str, low: float, high: float, *, above: bool = False, below: bool = False) -> Rule:
    """A number between the two, or strictly ``above`` or ``below`` them; True is none."""

    def holds(value: Any) -> bool:
        inside = is_any_number(value) and low <= value <= high
        return inside and not (above and value == low) and not (below and value == high)

    return Rule(wanted, holds)


MODE = Rule("'min' or 'max'", lambda value: value in ("min", "max"))
POSITIVE = _number("a finite number above 0", 0, math.inf, above=True, below=True)
NOT_NEGATIVE = _number("a finite number of at least 0", 0, math.inf, below=True)
ABOVE_1 = _number("a finite number above 1", 1, math.inf, above=True, below=True)
FROM_0_TO_1 = _number("a number from 0 to 1", 0, 1)
FROM_0_TO_BELOW_1 = _number("a number from 0 to below 1", 0, 1, below=True)
ABOVE_0_TO_1 = _number("a number above 0, at most 1", 0, 1, above=True)
ABOVE_0_BELOW_1 = _number("a number above 0 and below 1", 0, 1, above=True, below=True)


def check(owner: object, **rules: Rule) -> None:
    """Checks the settings of a signal or a policy.

    Raises:
        ConfigError: naming the first that is not what it has to be.
    """
    for name, rule in rules.items():
        require(type(owner).__name__, name, getattr(owner, name), rule)


def require(owner: str, name: str, value: object, rule: Rule) -> None:
    """Raises a `ConfigError` that names a setting, unless it holds to its rule."""
    if not rule.holds(value):
        raise ConfigError(f"{owner} needs {name} to be {rule.wanted}, got {value!r}")
