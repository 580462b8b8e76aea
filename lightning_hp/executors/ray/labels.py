"""Which machines of a cluster an agent may run on, by the labels of Ray's nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightning_hp.errors import ConfigError

# The label by which Ray knows a node.
NODE = "ray.io/node-id"
# The version of Ray that can be told by labels where an actor is to run.
_SINCE = (2, 49)
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:[A-Za-z0-9][A-Za-z0-9.-]{{0,252}}/)?{_WORD}")
_CONDITION = re.compile(rf"(?P<not>!?)(?:in\((?P<any>{_WORD}(?:, ?{_WORD})*)\)|(?P<one>{_WORD}))")


def check_selector(selector: Any) -> None:
    """Raises ConfigError for what is no label selector of Ray's."""
    if not isinstance(selector, Mapping):
        raise ConfigError(f"RayCluster: label_selector needs a dict, got {selector!r}")
    for name, condition in selector.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"RayCluster: label_selector needs names of labels such as 'ray.io/market-type', got {name!r}")
        if not isinstance(condition, str) or not _CONDITION.fullmatch(condition):
            raise ConfigError(
                f"RayCluster: label_selector[{name!r}] needs 'value', '!value', 'in(one,other)' or '!in(one,other)', "
                f"got {condition!r}"
            )


def can_select(version: str) -> bool:
    """Whether this version of Ray can be told by labels where an actor is to run.

    >>> can_select("2.48.0"), can_select("2.60.0")
    (False, True)
    """
    return tuple(map(int, version.split(".")[:2])) >= _SINCE


def matches(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node with these labels is one that a selector asks for.

    >>> matches({"market": "spot"}, {"market": "in(spot,reserved)"}), matches({}, {"market": "!spot"})
    (True, True)
    """
    return all(_is_met(labels.get(name), condition) for name, condition in selector.items())


def _is_met(value: str | None, condition: str) -> bool:
    found = _CONDITION.fullmatch(condition)
    assert found is not None
    wanted = [each.strip() for each in (found["any"] or found["one"]).split(",")]
    return (value in wanted) != bool(found["not"])
