"""Scales: how one hyperparameter is laid out between its bounds.

Each scale maps the unit interval to values and back. Equal lengths of the unit interval get equal shares of the draws,
so the choice of scale says where the draws should go. Values come in and go out as Python scalars or numpy arrays.

``value -> unit -> value`` gives back every value that a scale can produce, to the last bit: continuous values are
rounded a few digits short of float precision (12 significant digits for `Log`, 14 decimals of the range for the others),
which is what makes the way back exact, and hyperparameters readable.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_hp.bounds import check_bounds, checked_unit, checked_values, got, whole_number
from lightning_hp.description import label
from lightning_hp.errors import ConfigError
from lightning_hp.space.conditions import Conditional
from lightning_hp.space.rounding import round_decimals, round_significant
from lightning_hp.space.scale import Scale as Scale

DECIMALS, SIGNIFICANT_DIGITS = 14, 12
# The middle of the n-th integer's stretch is (n + 1/2) / count: beyond 2**52 no float holds n + 1/2. Beyond 2**40 the logs
# of neighbours differ by too few bits to invert.
MAX_INT_VALUES = 2**52
MAX_LOG_INT = 2**40
_NAMES_INSTEAD = "choose between names, such as 'small' and 'large', and let the factory look them up in a dict"


@dataclass(frozen=True)
class Linear(Scale):
    """Every stretch of the range gets the same share of draws: dropout, a loss weight, label smoothing.

    Args:
        low: smallest value, reachable.
        high: largest value, reachable.

    Raises:
        ConfigError: unless ``low < high``, both finite.

    >>> Linear(0.0, 0.5).from_unit(0.5)
    0.25
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_bounds(self, float)
        if not math.isfinite(self.high - self.low):
            raise ConfigError(f"Linear needs a range that a float can hold, {got(self)}")

    def from_unit(self, unit: ArrayLike) -> Any:
        u = checked_unit(unit)
        digits = DECIMALS - math.ceil(math.log10(max(abs(self.low), abs(self.high))))
        return _bounded(self, u, round_decimals(self.low + u * (self.high - self.low), digits))

    def to_unit(self, value: Any) -> Any:
        v = checked_values(self, value)
        return _plain(np.clip((v - self.low) / (self.high - self.low), 0.0, 1.0))

    def describe(self) -> dict[str, Any]:
        return {"scale": "linear", "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Log(Scale):
    """Every factor of ten gets the same share of draws: learning rate, weight decay.

    Args:
        low: smallest value, above 0, reachable.
        high: largest value, reachable.

    Raises:
        ConfigError: unless ``0 < low < high``, both finite.

    >>> Log(1e-4, 1.0).from_unit([0.0, 0.25, 0.5, 1.0])
    array([1.e-04, 1.e-03, 1.e-02, 1.e+00])
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_bounds(self, float)
        if self.low <= 0:
            raise ConfigError(
                f"Log needs 0 < low < high, {got(self)}. For a range that includes 0 use Linear, or start at 1e-6"
            )

    def from_unit(self, unit: ArrayLike) -> Any:
        u = checked_unit(unit)
        low, high = math.log(self.low), math.log(self.high)
        return _bounded(self, u, round_significant(np.exp(low + u * (high - low)), SIGNIFICANT_DIGITS))

    def to_unit(self, value: Any) -> Any:
        v = checked_values(self, value)
        low, high = math.log(self.low), math.log(self.high)
        return _plain(np.clip((np.log(v) - low) / (high - low), 0.0, 1.0))

    def describe(self) -> dict[str, Any]:
        return {"scale": "log", "low": self.low, "high": self.high}


@dataclass(frozen=True)
class ReverseLog(Scale):
    """Values approaching 1, such as momentum, Adam's betas or an EMA decay: 1 - value is log-uniform.

    The step from 0.999 to 0.9995 changes an average's memory as much as the one from 0.9 to 0.95, so both get the same
    share of draws. KerasTuner and Vizier call "reverse log" another thing, a mirrored log scale: on (0.9, 0.999) it puts
    9.5% of the draws above 0.99, this one half of them.

    Args:
        low: smallest value, reachable.
        high: largest value, below 1, reachable.

    Raises:
        ConfigError: unless ``low < high < 1``, both finite.

    >>> ReverseLog(0.9, 0.999).from_unit(0.5)
    0.99
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_bounds(self, float, size=1.0)
        if self.high >= 1:
            raise ConfigError(
                f"ReverseLog needs low < high < 1, {got(self)}. It is for values that approach 1 and never reach it: "
                "try high=0.999"
            )

    def from_unit(self, unit: ArrayLike) -> Any:
        u = checked_unit(unit)
        low, high = math.log(1.0 - self.low), math.log(1.0 - self.high)
        digits = DECIMALS - math.ceil(math.log10(max(abs(self.low), 1.0)))
        return _bounded(self, u, round_decimals(1.0 - np.exp(low + u * (high - low)), digits))

    def to_unit(self, value: Any) -> Any:
        v = checked_values(self, value)
        low, high = math.log(1.0 - self.low), math.log(1.0 - self.high)
        return _plain(np.clip((np.log(1.0 - v) - low) / (high - low), 0.0, 1.0))

    def describe(self) -> dict[str, Any]:
        return {"scale": "reverse_log", "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Int(Scale):
    """Whole numbers, each with the same chance, both ends included: layers, hidden units.

    Args:
        low: smallest integer.
        high: largest integer.

    Raises:
        ConfigError: unless both are integers and ``low < high``.

    >>> Int(2, 4).from_unit([0.0, 0.5, 1.0])
    array([2, 3, 4])
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        check_bounds(self, int)
        if max(self._count, abs(self.low), abs(self.high)) > MAX_INT_VALUES:
            raise ConfigError(f"Int needs bounds and a count of values of at most 2**52, {got(self)}")

    @property
    def _count(self) -> int:
        return self.high - self.low + 1

    def from_unit(self, unit: ArrayLike) -> Any:
        u = checked_unit(unit)
        steps = np.minimum(np.floor(u * self._count), self._count - 1)
        return _plain(self.low + steps.astype(np.int64))

    def to_unit(self, value: Any) -> Any:
        v = checked_values(self, value, whole=True)
        return _plain((v - self.low + 0.5) / self._count)

    def describe(self) -> dict[str, Any]:
        return {"scale": "int", "low": self.low, "high": self.high}


@dataclass(frozen=True)
class LogInt(Scale):
    """Whole numbers whose logarithm is spread evenly: batch size, hidden units over a wide range.

    An integer n owns the stretch from n - 1/2 to n + 1/2 on the log axis, both ends included, so its chance is
    proportional to log((n + 1/2) / (n - 1/2)).

    Args:
        low: smallest integer, at least 1.
        high: largest integer, at most 2**40.

    Raises:
        ConfigError: unless both are integers and ``1 <= low < high <= 2**40``.

    >>> LogInt(16, 256).grid(5)
    [16, 32, 64, 128, 256]
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        check_bounds(self, int)
        if self.low < 1 or self.high > MAX_LOG_INT:
            raise ConfigError(f"LogInt needs 1 <= low < high <= 2**40, {got(self)}. For a range that includes 0 use Int")

    @property
    def _log_ends(self) -> tuple[float, float]:
        return math.log(self.low - 0.5), math.log(self.high + 0.5)

    def from_unit(self, unit: ArrayLike) -> Any:
        u = checked_unit(unit)
        low, high = self._log_ends
        nearest = np.floor(np.exp(low + u * (high - low)) + 0.5)
        return _plain(np.clip(nearest, self.low, self.high).astype(np.int64))

    def to_unit(self, value: Any) -> Any:
        v = checked_values(self, value, whole=True)
        low, high = self._log_ends
        middle = (np.log(v - 0.5) + np.log(v + 0.5)) / 2
        return _plain((middle - low) / (high - low))

    def grid(self, points: int) -> list[Any]:
        whole_number("grid(points=)", points, 1)
        # From low to high themselves: the outer half cells that from_unit owns would shift every inner point.
        low, high = math.log(self.low), math.log(self.high)
        logs = np.linspace(low, high, points) if points > 1 else np.array([(low + high) / 2])
        return list(dict.fromkeys(np.rint(np.exp(logs)).astype(np.int64).tolist()))

    def describe(self) -> dict[str, Any]:
        return {"scale": "log_int", "low": self.low, "high": self.high}


@dataclass(frozen=True, init=False)
class Choice(Scale):
    """One of some values, each with the same chance: an activation, an optimizer.

    Args:
        *values: strings, numbers, None, or any object such as a class or function; two may not read the same in a table.

    Raises:
        ConfigError: there are no values, or their `label` does not tell them apart, now or in another process.

    >>> Choice("relu", "tanh").from_unit([0.0, 0.7])
    array(['relu', 'tanh'], dtype=object)
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if len(values) == 1 and isinstance(values[0], (Collection, Iterator)) and not isinstance(values[0], (str, bytes)):
            raise ConfigError(f"Choice takes its values one by one, got one {type(values[0]).__name__}: write Choice(*values)")
        self._set(values)

    @classmethod
    def of(cls, values: Iterable[Any]) -> Choice:
        """The choice of a list's values, any of which may be a list itself.

        >>> Choice.of([[8]]).values
        ([8],)
        """
        made = object.__new__(cls)
        made._set(tuple(values))
        return made

    def _set(self, values: tuple[Any, ...]) -> None:
        if not values:
            raise ConfigError("Choice needs at least one value, such as 'relu', got none")
        labels = [str(label(value)) for value in values]
        for value, text in zip(values, labels, strict=True):
            if isinstance(value, (Scale, Conditional)):
                raise ConfigError(
                    f"Choice holds the scale {value!r}, which the model would get as it stands: make it a hyperparameter of "
                    "its own, with when() if it exists with one of the values only"
                )
            if " at 0x" in text:
                raise ConfigError(f"Choice holds {text}, whose address is another one in each run: {_NAMES_INSTEAD}")
            if labels.count(text) > 1:
                way_out = "" if label(value) is value else f": {_NAMES_INSTEAD}"
                raise ConfigError(f"Choice needs values that can be told apart, got {text!r} more than once{way_out}")
        object.__setattr__(self, "values", values)

    def from_unit(self, unit: ArrayLike) -> Any:
        u = checked_unit(unit)
        index = np.minimum(np.floor(u * len(self.values)), len(self.values) - 1).astype(np.int64)
        # np.array(values) would turn equal-length lists into a table.
        table = np.empty(len(self.values), dtype=object)
        table[:] = self.values
        return table[index]

    def to_unit(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return np.reshape([self._unit(each) for each in value.flat], value.shape)
        return self._unit(value)

    def grid(self, points: int) -> list[Any]:
        """All the values, whatever ``points`` says: choices have no order to thin out."""
        whole_number("grid(points=)", points, 1)
        return list(self.values)

    def own(self, value: Any) -> Any:
        return self.values[self._index(value)]

    def describe(self) -> dict[str, Any]:
        return {"scale": "choice", "values": [label(value) for value in self.values]}

    def same(self, value: Any, other: Any) -> bool:
        # `True == 1`, but Choice(True, 1) means two different things.
        return value is other or (type(value) is type(other) and bool(value == other))

    def _unit(self, value: Any) -> float:
        return (self._index(value) + 0.5) / len(self.values)

    def _index(self, value: Any) -> int:
        plain = value.item() if isinstance(value, np.generic) else value
        for index, mine in enumerate(self.values):
            if self.same(value, mine) or self.same(plain, mine):
                return index
        raise ValueError(f"{value!r} is not one of the values {list(self.values)!r}")


def _bounded(scale: Any, u: NDArray[np.float64], v: NDArray[np.float64]) -> Any:
    inside = np.clip(v, scale.low, scale.high)
    # What rounding has brought so near to a bound that the way back would end there, is the bound.
    back = scale.to_unit(inside)
    at_low, at_high = (u == 0.0) | (back == 0.0), (u == 1.0) | (back == 1.0)
    return _plain(np.where(at_low, scale.low, np.where(at_high, scale.high, inside)))


def _plain(v: Any) -> Any:
    return v.item() if np.ndim(v) == 0 else v
