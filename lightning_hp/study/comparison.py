"""Whether two fits of one trial came out the same: metric by metric, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from lightning_hp.bounds import is_any_number
from lightning_hp.errors import ConfigError
from lightning_hp.trial import Metrics

# Of a metric's largest value. Fused fits of most models stay below a hundredth of it.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Difference:
    """One metric in one epoch, from 0, of two fits; None where it was not logged, or the fit had no such epoch.

    ``size`` is the difference, in parts of the largest value that the metric has had.
    """

    metric: str
    epoch: int
    before: float | None
    after: float | None
    size: float

    def __str__(self) -> str:
        return f"{self.metric} in epoch {self.epoch} was {_shown(self.before)}, is {_shown(self.after)}"


@dataclass(frozen=True)
class Comparison:
    """How far two fits are alike.

    Attributes:
        epochs: that were compared.
        metrics: names of what was compared.
        largest: the largest difference; None where all values are the same to the last bit.
        first: the first difference beyond the tolerance; None where there is none.
    """

    epochs: int
    metrics: tuple[str, ...]
    largest: Difference | None = None
    first: Difference | None = None


def compare(before: Metrics, after: Metrics, tolerance: float = TOLERANCE) -> Comparison:
    """Compares the metrics of two fits.

    Args:
        before: of the one.
        after: of the other.
        tolerance: how far values may lie apart, in parts of the metric's largest.

    Raises:
        ConfigError: the tolerance is no number of at least 0.

    >>> print(compare({"loss": [0.5, 0.25]}, {"loss": [0.5, 0.26]}).first)
    loss in epoch 1 was 0.25, is 0.26
    >>> compare({"loss": [0.5, 0.25]}, {"loss": [0.5, 0.25]}).largest is None
    True
    """
    check_tolerance(tolerance)
    names = tuple(dict.fromkeys([*before, *after]))
    epochs = max((len(values) for metrics in (before, after) for values in metrics.values()), default=0)
    found = [each for name in names for each in _differences(name, before.get(name, []), after.get(name, []))]
    beyond = (each for each in found if each.size > tolerance)
    return Comparison(
        epochs,
        names,
        largest=max(found, key=lambda each: each.size, default=None),
        first=min(beyond, key=lambda each: each.epoch, default=None),
    )


def check_tolerance(tolerance: float) -> None:
    """Raises ConfigError unless values can lie so far apart."""
    if not is_any_number(tolerance) or not tolerance >= 0:
        raise ConfigError(f"tolerance needs a number of at least 0, got {tolerance!r}")


def _differences(name: str, before: list[float | None], after: list[float | None]) -> Iterator[Difference]:
    """The differences in one metric, by epoch."""
    # Of a value near 0 a share would say nothing.
    scale = max((abs(value) for value in (*before, *after) if value is not None and math.isfinite(value)), default=0.0)
    for epoch, (one, other) in enumerate(zip_longest(before, after)):
        both_nan = one is not None and other is not None and math.isnan(one) and math.isnan(other)
        if one != other and not both_nan:
            yield Difference(name, epoch, one, other, _size(one, other, scale))


def _size(one: float | None, other: float | None, scale: float) -> float:
    if one is None or other is None or not (math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / scale


def _shown(value: float | None) -> str:
    return "nothing" if value is None else repr(value)
