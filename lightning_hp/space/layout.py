"""Layout: where each hyperparameter of a space lies in the unit cube, and which others it depends on.

The cube has a fixed number of coordinates: one for each hyperparameter, and for a list one for each layer that there may be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_hp.bounds import is_number
from lightning_hp.description import label
from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.space.conditions import Condition, Conditional
from lightning_hp.space.scales import Choice, Int, LogInt, Scale

# Each layer that there may be is a dimension of the search.
MOST_LAYERS = 128


@dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter in its space.

    Attributes:
        name: the user's.
        scale: of one value.
        columns: its coordinates of the unit cube, one for each value that it may have.
        coordinates: the names of these: its own, or of a list ``units[0]``, ``units[1]``, ...
        conditions: other hyperparameters with their scales, and what they have to be.
        counter: the hyperparameter that tells how many values it has; None where it is a single value.
    """

    name: str
    scale: Scale
    columns: range
    coordinates: tuple[str, ...]
    conditions: tuple[tuple[str, Scale, Condition], ...]
    counter: str | None

    @property
    def parents(self) -> list[str]:
        """The hyperparameters that decide about it."""
        return [*(name for name, _, _ in self.conditions), *([] if self.counter is None else [self.counter])]

    def exists(self, others: Mapping[str, Any]) -> bool:
        """Whether it exists beside these, of which those that decide about it are there as far as they exist."""
        met = all(name in others and condition.holds(scale, others[name]) for name, scale, condition in self.conditions)
        return met and (self.counter is None or self.counter in others)

    def size(self, others: Mapping[str, Any]) -> int:
        """How many values it has beside these, with which it exists."""
        return len(self.columns) if self.counter is None else int(others[self.counter])

    def why(self, others: Mapping[str, Any]) -> str:
        """What keeps it from being there beside these, to be told."""
        for name, scale, condition in self.conditions:
            if name not in others:
                return f"{name} is not there"
            if not condition.holds(scale, others[name]):
                return f"it exists only where {name} is {condition}, got {others[name]!r}"
        return f"{self.counter} is not there"


def laid_out(declared: Mapping[str, Scale | Conditional]) -> dict[str, Hyperparameter]:
    """The hyperparameters of a space in order of dependence: each after those that decide about it.

    Raises:
        ConfigError: a condition names no other hyperparameter or one that is a list, can never hold, or they go in a circle;
            or a list is counted by what is no whole number.
    """
    conditional = {name: _conditional(each) for name, each in declared.items()}
    for name, each in conditional.items():
        _check_parents(name, each, conditional)
    found: dict[str, Hyperparameter] = {}
    first = 0
    for name, each in conditional.items():
        coordinates: tuple[str, ...] = (name,)
        if each.counter is not None:
            most = _most(name, conditional[each.counter].scale, each.counter)
            coordinates = tuple(f"{name}[{index}]" for index in range(most))
        conditions = tuple((parent, conditional[parent].scale, condition) for parent, condition in each.conditions.items())
        columns = range(first, first + len(coordinates))
        found[name] = Hyperparameter(name, each.scale, columns, coordinates, conditions, each.counter)
        first = columns.stop
    ordered: dict[str, Hyperparameter] = {}
    for name in found:
        for each_name in _after_parents(name, found, []):
            ordered.setdefault(each_name, found[each_name])
    for placed in ordered.values():
        _check_possible(placed, ordered)
    return ordered


def possible(scale: Scale, conditions: Sequence[Condition]) -> bool:
    """Whether some value of a scale meets all the conditions."""
    if isinstance(scale, Choice):
        listed = list(scale.values)
    else:
        listed = [value for condition in conditions for value in condition.values if _lies_on(scale, value)]
        if not any(condition.values for condition in conditions):
            bounds: Any = scale
            low = max(bounds.low, *(each.low for each in conditions))
            high = min(bounds.high, *(each.high for each in conditions))
            return math.ceil(low) <= math.floor(high) if isinstance(scale, (Int, LogInt)) else bool(low < high)
    return any(all(condition.holds(scale, value) for condition in conditions) for value in listed)


def _conditional(each: Scale | Conditional) -> Conditional:
    return each if isinstance(each, Conditional) else Conditional(each)


def _check_parents(name: str, each: Conditional, declared: Mapping[str, Conditional]) -> None:
    for parent in [*each.conditions, *([] if each.counter is None else [each.counter])]:
        where = f"space[{name!r}]: {'per' if parent not in each.conditions else 'when'}"
        if parent not in declared:
            raise ConfigError(f"{where} {parent!r} is not in the space{did_you_mean(str(parent), declared)}")
        if declared[parent].counter is not None:
            raise ConfigError(f"{where} {parent!r} needs a single value, got a list per {declared[parent].counter!r}")
    for parent, condition in each.conditions.items():
        _check_values(f"space[{name!r}]: when[{parent!r}]", declared[parent].scale, condition)


def _check_values(where: str, scale: Scale, condition: Condition) -> None:
    """Raises ConfigError where a condition by itself can never hold, or is a value that is none of the scale's."""
    if isinstance(scale, Choice):
        for value in condition.values:
            if not any(scale.same(value, each) for each in scale.values):
                known = [str(label(each)) for each in scale.values]
                hint = did_you_mean(str(value), known)
                raise ConfigError(f"{where} is never {value!r}, but one of {', '.join(known)}{hint}")
    elif not all(map(is_number, condition.values)):
        raise ConfigError(f"{where} needs numbers, got {condition}: its scale is {scale}")
    elif condition.values and not isinstance(scale, (Int, LogInt)):
        raise ConfigError(f"{where} is hardly ever a given number: give bounds, such as {{'at_least': 0.1}}, got {condition}")
    if not possible(scale, [condition]):
        raise ConfigError(f"{where} is never {condition}: its scale is {scale}")


def _most(name: str, scale: Scale, counter: str) -> int:
    if not isinstance(scale, (Int, LogInt)):
        raise ConfigError(f"space[{name!r}]: per {counter!r} needs whole numbers, Int or LogInt, got {scale}")
    if scale.low < 0 or not 1 <= scale.high <= MOST_LAYERS:
        raise ConfigError(f"space[{name!r}]: per {counter!r} needs numbers from 0 to at most {MOST_LAYERS}, got {scale}")
    return scale.high


def _after_parents(name: str, found: Mapping[str, Hyperparameter], path: list[str]) -> Iterator[str]:
    if name in path:
        circle = " -> ".join([*path[path.index(name) :], name])
        raise ConfigError(f"space[{name!r}] depends on itself, so it can never exist: {circle}")
    for parent in found[name].parents:
        yield from _after_parents(parent, found, [*path, name])
    yield name


def _check_possible(each: Hyperparameter, found: Mapping[str, Hyperparameter]) -> None:
    """Raises ConfigError where conditions that can hold by themselves never do together."""
    # All of them have to hold, so that they contradict each other if those on some one hyperparameter do.
    needed: dict[str, list[Condition]] = {}
    waiting = [each]
    while waiting:
        one = waiting.pop()
        for name, _, condition in one.conditions:
            if condition not in needed.setdefault(name, []):
                needed[name].append(condition)
        waiting += [found[parent] for parent in one.parents]
    for name, conditions in needed.items():
        if not possible(found[name].scale, conditions):
            told = " and ".join(str(condition) for condition in conditions)
            raise ConfigError(f"space[{each.name!r}] can never exist: with what it depends on, {name} would have to be {told}")


def _lies_on(scale: Scale, value: Any) -> bool:
    try:
        scale.to_unit(value)
    except (TypeError, ValueError):
        return False
    return True
