"""What every scale can do; `scales` has those that there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lightning_hp.bounds import whole_number
from lightning_hp.space.conditions import Conditional


class Scale(ABC):
    """One hyperparameter's values, laid out on the unit interval."""

    @abstractmethod
    def from_unit(self, unit: ArrayLike) -> Any:
        """Values at positions of the unit interval: 0 gives the first value (low), 1 the last (high).

        Args:
            unit: a float in [0, 1], or an array of them.

        Returns:
            A Python scalar for a scalar, an array of the same shape for an array.

        Raises:
            ValueError: a position lies outside [0, 1] or is NaN.
        """

    @abstractmethod
    def to_unit(self, value: Any) -> Any:
        """Positions in [0, 1] of values: the inverse of `from_unit`.

        Integers and choices own a stretch of the interval and give its middle.

        Raises:
            ValueError: a value is not one of the scale's.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The scale as it is written in a YAML config, for example ``{"scale": "log", "low": 0.1, "high": 1.0}``."""

    def grid(self, points: int) -> list[Any]:
        """At most ``points`` values, evenly spaced in the scale's own coordinate and both ends included.

        >>> from lightning_hp import Int, Log
        >>> Log(1e-3, 1e-1).grid(3)
        [0.001, 0.01, 0.1]
        >>> Int(2, 4).grid(10)
        [2, 3, 4]
        """
        whole_number("grid(points=)", points, 1)
        units = np.linspace(0.0, 1.0, points) if points > 1 else np.array([0.5])
        return list(dict.fromkeys(self.from_unit(units).tolist()))

    def same(self, value: Any, other: Any) -> bool:
        """Whether two values of the scale are the same one."""
        return bool(value == other)

    def own(self, value: Any) -> Any:
        """A value of the scale in the type that `from_unit` gives, such as the int of a whole float on an `Int`."""
        return type(self.from_unit(0.0))(value)

    def when(self, conditions: Mapping[str, Any] | None = None, /, **named: Any) -> Conditional:
        """The scale of a hyperparameter that exists only with some values of others.

        Args:
            conditions: by the name of another hyperparameter the value with which this one exists: one, or several in a list,
                tuple, set or range; of numbers also ``{"at_least": 2}``, ``{"at_most": 8}`` or both.
            **named: the same, for names without a dot.

        Raises:
            ConfigError: here, a condition is none; when the space is made, it names no other hyperparameter of it, can never
                hold, or depends on itself.

        >>> from lightning_hp import Choice, ReverseLog, Space
        >>> space = Space({"optimizer": Choice("sgd", "adam"), "momentum": ReverseLog(0.5, 0.99).when(optimizer="sgd")})
        >>> space.from_unit([[0.0, 1.0], [1.0, 1.0]])
        [{'optimizer': 'sgd', 'momentum': 0.99}, {'optimizer': 'adam'}]
        """
        return Conditional(self).when(conditions, **named)

    def per(self, counter: str) -> Conditional:
        """The scale of a list with a value for each layer, or for each of whatever a hyperparameter counts.

        Args:
            counter: the name of an `Int` or `LogInt`: how many values there are. With 0 the list is empty, and where the
                counter does not exist there is none.

        Raises:
            ConfigError: here, it is no name; when the space is made, it names no whole number of it.

        >>> from lightning_hp import Int, Space
        >>> Space({"layers": Int(1, 3), "units": Int(16, 64).per("layers")}).from_unit([[0.5, 1.0, 0.0, 0.5]])
        [{'layers': 2, 'units': [64, 16]}]
        """
        return Conditional(self).per(counter)
