"""Conditions: with which values of others a hyperparameter exists, and of which one it has a value for each layer.

``Log(1e-3, 1.0).when(optimizer="sgd")`` and ``Int(16, 128).per("layers")`` make a `Conditional`, which a `Space` takes in the
place of a scale. A hyperparameter that does not exist is in no trial's hyperparameters, and is not passed on: the default of
the model, data or Trainer applies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_hp.bounds import is_any_number, is_list, is_number
from lightning_hp.description import label
from lightning_hp.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from lightning_hp.space.scale import Scale

_BOUNDS = ("at_least", "at_most")


@dataclass(frozen=True)
class Condition:
    """What another hyperparameter has to be.

    Attributes:
        values: one of these, if there are any; else a number between the bounds, both included.
        low: the lower bound.
        high: the upper bound.
    """

    values: tuple[Any, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    def holds(self, scale: Scale, value: Any) -> bool:
        """Whether a value that lies on a scale meets it."""
        if self.values:
            return any(scale.same(value, each) for each in self.values)
        return is_any_number(value) and bool(self.low <= value <= self.high)

    def describe(self) -> Any:
        """The condition as it is written in a YAML config."""
        if self.values:
            labels = [label(each) for each in self.values]
            return labels[0] if len(labels) == 1 else labels
        return {name: bound for name, bound in zip(_BOUNDS, (self.low, self.high), strict=True) if math.isfinite(bound)}

    def __str__(self) -> str:
        if self.values:
            return " or ".join(repr(label(each)) for each in self.values)
        return " and ".join(f"{name.replace('_', ' ')} {bound:g}" for name, bound in self.describe().items())


@dataclass(frozen=True)
class Conditional:
    """A scale of a hyperparameter that exists only with others, or that has one value for each layer.

    Made by `Scale.when` and `Scale.per`, one after the other where both are meant.

    Attributes:
        scale: of one value.
        conditions: by the name of another hyperparameter; all have to hold.
        counter: the whole number by which it is a list; None where it is a single value.

    >>> from lightning_hp import Log
    >>> Log(1e-3, 1.0).when(optimizer="sgd").describe()
    {'scale': 'log', 'low': 0.001, 'high': 1.0, 'when': {'optimizer': 'sgd'}}
    """

    scale: Scale
    conditions: Mapping[str, Condition] = field(default_factory=dict, hash=False)
    counter: str | None = None

    def when(self, conditions: Mapping[str, Any] | None = None, /, **named: Any) -> Conditional:
        """The same under more conditions; see `Scale.when`."""
        if conditions is not None and not isinstance(conditions, Mapping):
            raise ConfigError(f"when needs values by name, such as {{'optimizer': 'sgd'}}, got {conditions!r}")
        given = [*(conditions or {}).items(), *named.items()]
        if not given:
            raise ConfigError("when needs another hyperparameter and its values, such as when(optimizer='sgd'), got nothing")
        merged = dict(self.conditions)
        for name, values in given:
            if name in merged:
                raise ConfigError(f"when[{name!r}] stands twice: give all its values at once, as a list")
            merged[name] = _condition(name, values)
        return replace(self, conditions=merged)

    def per(self, counter: str) -> Conditional:
        """The same as a list; see `Scale.per`."""
        if not isinstance(counter, str) or not counter:
            raise ConfigError(f"per needs the name of a whole number, such as 'layers', got {counter!r}")
        if self.counter is not None:
            raise ConfigError(f"per needs one whole number, got {self.counter!r} and {counter!r}")
        return replace(self, counter=counter)

    def describe(self) -> dict[str, Any]:
        """The scale and its conditions as they are written in a YAML config."""
        conditions = {name: each.describe() for name, each in self.conditions.items()}
        return {
            **self.scale.describe(),
            **({"when": conditions} if conditions else {}),
            **({"per": self.counter} if self.counter is not None else {}),
        }


def _condition(name: str, given: Any) -> Condition:
    """The condition that a user means: a value, several in a list, tuple, set or range, or bounds by name."""
    if isinstance(given, (np.generic, np.ndarray)):
        given = given.tolist()
    if isinstance(given, range) and len(given) and given.step == 1:
        return Condition(low=given[0], high=given[-1])
    if isinstance(given, Mapping):
        return _bounds(name, given)
    if isinstance(given, (set, frozenset)):
        # In the same order in each run.
        given = sorted(given, key=lambda each: (each, "") if isinstance(each, (int, float)) else (0, str(label(each))))
    if is_list(given):
        if not len(given):
            raise ConfigError(f"when[{name!r}] needs at least one value, got none")
        return Condition(tuple(each.item() if isinstance(each, np.generic) else each for each in given))
    return Condition((given,))


def _bounds(name: str, given: Mapping[Any, Any]) -> Condition:
    given = {key: value.item() if isinstance(value, np.generic) else value for key, value in given.items()}
    for key, value in given.items():
        if key not in _BOUNDS:
            hint = did_you_mean(str(key), _BOUNDS)
            raise ConfigError(f"when[{name!r}] needs values, or {' and '.join(_BOUNDS)}, got {key!r}{hint}")
        if not is_number(value) or not math.isfinite(value):
            raise ConfigError(f"when[{name!r}]: {key} needs a number, got {value!r}")
    if not given:
        raise ConfigError(f"when[{name!r}] needs values, or {' and '.join(_BOUNDS)}, got nothing")
    return Condition(low=given.get("at_least", -math.inf), high=given.get("at_most", math.inf))
