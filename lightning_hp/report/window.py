"""The part of the objective's range that a picture shows: from the best to where most trials end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightning_hp.report.ticks import decades, shown
from lightning_hp.trial import Mode

Array = NDArray[np.float64]
# On a log axis where the values span more than this factor.
SPANS = 8.0
# Beyond so many times the distance from the best to the third quarter, values would squeeze the others together.
FAR = 1.8


@dataclass(frozen=True)
class Window:
    """What an axis of values shows.

    Attributes:
        low: its lower end.
        high: its upper end.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    log: bool

    def clipped(self, values: Array) -> Array:
        """Values beyond an end lie on it."""
        clipped: Array = np.clip(values, self.low, self.high)
        return clipped

    def beyond(self, values: Array) -> NDArray[np.bool_]:
        """Which values lie beyond an end."""
        return (values < self.low) | (values > self.high)

    def unit(self, values: Array) -> Array:
        """Where values lie between the ends, from 0 to 1."""
        low, high = _coordinate(np.array([self.low, self.high]), self.log)
        unit: Array = (_coordinate(self.clipped(values), self.log) - low) / (high - low)
        return unit


def window(values: Array, mode: Mode, far: float = FAR, log: bool | None = None) -> Window:
    """The part of the values' range to show.

    Args:
        values: what is to be shown; what is not finite is left out of account.
        mode: whether small values are good, or large ones.
        far: how many times as far from the best as the third quarter the worst may be that is shown.
        log: whether the axis is logarithmic; None if it is where values span much.
    """
    finite = np.sort(values[np.isfinite(values)])
    if not len(finite):
        return Window(0.0, 1.0, False)
    if mode == "max":
        finite = finite[::-1]
    if log is None:
        log = bool(finite.min() > 0 and _third(finite) > SPANS * finite.min() and mode == "min")
    placed = _coordinate(finite, log)
    best, worst, third = placed[0], placed[-1], float(_third(placed))
    if abs(worst - best) > far * abs(third - best) > 0:
        worst = best + far * (third - best)
    margin = 0.05 * abs(worst - best) or 0.05 * abs(best) or 1.0
    low, high = sorted((float(best), float(worst)))
    ends = np.array([low - margin, high + margin])
    low, high = (float(10**end) for end in ends) if log else map(float, ends)
    return Window(low, high, log)


def draw_values(axes: Any, shows: Window, which: Literal["x", "y"] = "y") -> None:
    """Sets an axis to a window, with labels at round numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if shows.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        span = math.log10(shows.high / shows.low)
        steps = (1,) if span > 3 else (1, 3) if span > 1.6 else (1, 2, 5) if span > 0.8 else (1, 2, 3, 4, 5, 6, 8)
        ticks = decades(shows.low, shows.high, steps)
        axis.set_ticks(ticks, [shown(tick) for tick in ticks])
        axis.set_minor_locator(_none())
    (axes.set_xlim if which == "x" else axes.set_ylim)(shows.low, shows.high)


def _none() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _third(ordered: Array) -> float:
    """The value that three quarters are as good as."""
    return float(ordered[min(math.ceil(0.75 * len(ordered)), len(ordered) - 1)])


def _coordinate(values: Array, log: bool) -> Array:
    coordinate: Array = np.log10(values) if log else values
    return coordinate
