"""Axes in a scale's own coordinate: positions on the unit interval, labels at round numbers and both ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

from lightning_hp.description import label
from lightning_hp.report.style import cut
from lightning_hp.space.scales import Choice, Int, Linear, Log, LogInt, ReverseLog, Scale

# Labels nearer to each other than this part of the axis would touch.
NEAREST = 0.15


def draw_scale(axes: Any, scale: Scale, which: Literal["x", "y"] = "x", nearest: float = NEAREST, letters: int = 40) -> None:
    """Labels an axis with a scale's values.

    Args:
        axes: of matplotlib.
        scale: what the axis shows, from 0 to 1.
        which: of the two axes.
        nearest: how near two labels may be, as a part of the axis.
        letters: how many fit side by side along the axis, for the names of choices.
    """
    places, texts = labels(scale, nearest)
    if isinstance(scale, Choice):
        texts = [cut(text, max(letters // len(texts) - 1, 3)) for text in texts]
    if which == "x":
        axes.set_xticks(places, texts)
        axes.set_xlim(-0.04, 1.04)
    else:
        axes.set_yticks(places, texts)
        axes.set_ylim(-0.04, 1.04)


def labels(scale: Scale, nearest: float = NEAREST) -> tuple[list[float], list[str]]:
    """Places on the unit interval and what stands there.

    >>> labels(ReverseLog(0.5, 0.999))[1]
    ['0.5', '0.9', '0.99', '0.999']
    """
    if isinstance(scale, Choice):
        return [scale.to_unit(value) for value in scale.values], [str(label(value)) for value in scale.values]
    ends = [scale.from_unit(0.0), scale.from_unit(1.0)]
    chosen: list[Any] = []
    for finer in _round_numbers(scale):
        places = [float(scale.to_unit(value)) for value in finer]
        first, last = float(scale.to_unit(ends[0])), float(scale.to_unit(ends[1]))
        inside = [value for value, at in zip(finer, places, strict=True) if first + nearest <= at <= last - nearest]
        at = [first, *(float(scale.to_unit(value)) for value in inside), last]
        if any(after - before < nearest for before, after in pairwise(at)):
            break
        chosen = inside
    values = [ends[0], *chosen, ends[1]]
    return [float(scale.to_unit(value)) for value in values], [shown(value) for value in values]


def shown(value: Any) -> str:
    """A value as one would write it on an axis.

    >>> shown(1e-05), shown(0.9995), shown(256), shown(0.30000000000000004)
    ('1e-5', '0.9995', '256', '0.3')
    """
    if not isinstance(value, float):
        return str(label(value))
    text = f"{value:.5g}"
    mantissa, letter, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if letter else text


def _round_numbers(scale: Scale) -> Iterator[Sequence[Any]]:
    """Rounder and rounder numbers' finer and finer series, strictly inside the scale."""
    if isinstance(scale, Log):
        yield from _inside(scale, (decades(scale.low, scale.high, steps) for steps in ((1,), (1, 3), (1, 2, 5))))
    elif isinstance(scale, ReverseLog):
        gaps = [decades(1 - scale.high, 1 - scale.low, steps) for steps in ((1,), (1, 5), (1, 2, 5))]
        yield from _inside(scale, ([round(1 - gap, 12) for gap in reversed(series)] for series in gaps))
    elif isinstance(scale, LogInt):
        powers = [2**power for power in range(41)]
        yield from _inside(scale, (powers[::step] for step in (4, 2, 1)))
    elif isinstance(scale, (Linear, Int)):
        whole = isinstance(scale, Int)
        yield from _inside(scale, (_steps(scale.low, scale.high, count, whole) for count in (2, 3, 5, 8)))
    else:
        yield scale.grid(5)[1:-1]


def _inside(scale: Any, series: Any) -> Iterator[Sequence[Any]]:
    for values in series:
        yield [value for value in values if scale.low < value < scale.high]


def decades(low: float, high: float, steps: Sequence[int]) -> list[float]:
    """Powers of ten between two positive numbers, times these.

    >>> decades(0.02, 3.0, (1, 5))
    [0.05, 0.1, 0.5, 1.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # From its text, since 5 * 10**-2 is not 0.05.
    values = [float(f"{step}e{power}") for power in powers for step in steps]
    return [value for value in values if low <= value <= high]


def _steps(low: float, high: float, count: int, whole: bool) -> list[Any]:
    """Multiples of a round number, about so many."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    if whole:
        step = max(round(step), 1)
    values = [round(index * step, 12) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [int(value) for value in values] if whole else values
