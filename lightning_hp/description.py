"""What a user gave, as plain values: to be stored with the study, compared when it goes on, and read by people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Describing(Protocol):
    """What says by itself how it is written in a config."""

    def describe(self) -> Any: ...


def described(value: Any) -> Any:
    """A value as JSON can hold it: itself where it is plain, else its name and, where it has them, its arguments.

    What is ours and describes itself is asked; others may mean another thing by that name.

    >>> described({"max_epochs": 10, "callbacks": [partial(dict, patience=3)]})
    {'max_epochs': 10, 'callbacks': [{'dict': {'patience': 3}}]}
    """
    if isinstance(value, Enum):
        return label(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): described(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(each) for each in value]
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Describing) and type(value).__module__.startswith("lightning_hp."):
        return described(value.describe())
    if isinstance(value, partial):
        given = [*value.args, *([value.keywords] if value.keywords else [])] if value.args else value.keywords
        return {name_of(value.func): described(given)}
    if is_dataclass(value) and not isinstance(value, type):
        return {name_of(value): {each.name: described(getattr(value, each.name)) for each in fields(value)}}
    return name_of(value)


def named(name: str, made: Any, default: Any) -> str | dict[str, Any]:
    """What is ours as a config has it: its name there, or that and the attributes in which it differs from the default."""
    given = {key: value for key, value in vars(made).items() if value != getattr(default, key)}
    return {"name": name, **given} if given else name


def label(value: Any) -> bool | int | float | str | None:
    """A value as it is stored and shown: itself where JSON has it, else its name.

    >>> label(0.1), label(dict), label(None)
    (0.1, 'dict', None)
    """
    if isinstance(value, Enum):
        # It may be a text or a number, too.
        return f"{type(value).__qualname__}.{value.name}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return label(value.item())
    return str(getattr(value, "__qualname__", value))


def name_of(value: Any) -> str:
    """The name of a class or function as its author wrote it, in a partial too; of any other object that of its class."""
    inner = getattr(value, "func", value)
    return str(getattr(inner, "__qualname__", None) or type(inner).__qualname__)
