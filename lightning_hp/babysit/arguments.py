"""Whether the Babysitter's arguments are what they have to be, said in its name before anything trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_hp.babysit.policies import POLICIES
from lightning_hp.babysit.settings import (
    ABOVE_0_BELOW_1,
    ABOVE_0_TO_1,
    FROM_0_TO_BELOW_1,
    MODE,
    NOT_NEGATIVE,
    Rule,
    require,
    whole,
)
from lightning_hp.bounds import is_list


def check(arguments: Mapping[str, Any]) -> None:
    """Checks all arguments.

    Raises:
        ConfigError: one is out of its range.
    """
    for name, rule in _RULES.items():
        require("Babysitter", name, arguments[name], rule)


def _is_name(value: object) -> bool:
    return value is None or (isinstance(value, str) and value != "")


def _is_policy(value: object) -> bool:
    return value in POLICIES if isinstance(value, str) else _has(value, "signals", "begin", "decide")


def _are_signals(values: Any) -> bool:
    if values is None:
        return True
    return is_list(values) and all(_has(each, "begin", "observe", "intervened") for each in values)


def _has(value: object, *methods: str) -> bool:
    # A class has them, too.
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in methods)


_RULES = {
    "monitor": Rule("the name of a logged metric", _is_name),
    "mode": Rule(MODE.wanted, lambda value: value is None or MODE.holds(value)),
    "patience": whole(),
    "min_delta": NOT_NEGATIVE,
    "cooldown": whole(),
    "factor": ABOVE_0_BELOW_1,
    "min_lr": NOT_NEGATIVE,
    "momentum_factor": ABOVE_0_TO_1,
    "max_momentum": FROM_0_TO_BELOW_1,
    "policy": Rule(f"one of {', '.join(map(repr, POLICIES))}, or a Policy", _is_policy),
    "signals": Rule("None or a list of Signals", _are_signals),
    "max_interventions": whole(),
}
