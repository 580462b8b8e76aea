"""Whether two fits of one trial came out the same: metric by metric, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

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

    >>> print(compare({"loss": [0.5, 0.25]}, {"loss": [0.5, 0.26]}).first)
    loss in epoch 1 was 0.25, is 0.26
    >>> compare({"loss": [0.5, 0.25]}, {"loss": [0.5, 0.25]}).largest is None
    True
    """
    names = tuple(dict.fromkeys([*before, *after]))
    epochs = max((len(values) for metrics in (before, after) for values in metrics.values()), default=0)
    found = [
        difference
        for epoch in range(epochs)
        for name in names
        if (difference := _difference(name, epoch, before.get(name, []), after.get(name, []))) is not None
    ]
    return Comparison(
        epochs,
        names,
        largest=max(found, key=lambda each: each.size, default=None),
        first=next((each for each in found if each.size > tolerance), None),
    )


def _difference(name: str, epoch: int, before: list[float | None], after: list[float | None]) -> Difference | None:
    one, other = _at(before, epoch), _at(after, epoch)
    if one == other or (one is not None and other is not None and math.isnan(one) and math.isnan(other)):
        return None
    if one is None or other is None or not (math.isfinite(one) and math.isfinite(other)):
        return Difference(name, epoch, one, other, math.inf)
    # Of a value near 0 a share would say nothing.
    scale = max(abs(value) for value in (*before, *after) if value is not None and math.isfinite(value))
    return Difference(name, epoch, one, other, abs(one - other) / scale)


def _at(values: list[float | None], epoch: int) -> float | None:
    return values[epoch] if epoch < len(values) else None


def _shown(value: float | None) -> str:
    return "nothing" if value is None else repr(value)
