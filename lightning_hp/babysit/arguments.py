"""Whether the Babysitter's arguments are what they have to be, said in its name before anything trains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_hp.babysit.policies import POLICIES
from lightning_hp.babysit.settings import number, whole
from lightning_hp.errors import ConfigError

_WHOLE = "a whole number of at least 0"
_NOT_NEGATIVE = "a finite number of at least 0"


def check(arguments: Mapping[str, Any]) -> None:
    """Checks all arguments.

    Raises:
        ConfigError: one is out of its range.
    """
    for name, (wanted, fine) in _rules(**arguments).items():
        require(name, arguments[name], wanted, fine)


def require(name: str, value: object, wanted: str, fine: bool) -> None:
    """Raises a `ConfigError` that names the argument, unless it is fine."""
    if not fine:
        raise ConfigError(f"Babysitter needs {name} to be {wanted}, got {value!r}")


def _rules(**given: Any) -> dict[str, tuple[str, bool]]:
    monitor, signals = given["monitor"], given["signals"]
    is_name = monitor is None or (isinstance(monitor, str) and monitor != "")
    return {
        "monitor": ("the name of a logged metric", is_name),
        "mode": ("'min' or 'max'", given["mode"] in (None, "min", "max")),
        "patience": (_WHOLE, whole(given["patience"])),
        "min_delta": (_NOT_NEGATIVE, number(given["min_delta"], 0, math.inf, below=True)),
        "cooldown": (_WHOLE, whole(given["cooldown"])),
        "factor": ("a number above 0 and below 1", number(given["factor"], 0, 1, above=True, below=True)),
        "min_lr": (_NOT_NEGATIVE, number(given["min_lr"], 0, math.inf, below=True)),
        "momentum_factor": ("a number above 0, at most 1", number(given["momentum_factor"], 0, 1, above=True)),
        "max_momentum": ("a number from 0 to below 1", number(given["max_momentum"], 0, 1, below=True)),
        "policy": (f"one of {', '.join(map(repr, POLICIES))}, or a Policy", _is_policy(given["policy"])),
        "signals": ("None or a list of Signals", signals is None or _are_signals(signals)),
        "max_interventions": (_WHOLE, whole(given["max_interventions"])),
    }


def _is_policy(value: object) -> bool:
    return value in POLICIES if isinstance(value, str) else _has(value, "signals", "begin", "decide")


def _are_signals(values: object) -> bool:
    return isinstance(values, Sequence) and all(_has(each, "begin", "observe", "intervened") for each in values)


def _has(value: object, *methods: str) -> bool:
    # A class has them, too.
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in methods)
