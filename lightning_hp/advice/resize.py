"""A scale with other bounds: narrowed to a part of itself, or widened at an end, to numbers that one would write."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from lightning_hp.space.scales import Int, Linear, Log, LogInt, ReverseLog

# What stays below 1 by its meaning, whatever scale it is searched on.
BELOW_ONE = frozenset(
    {"momentum", "beta", "beta1", "beta2", "beta_1", "beta_2", "ema", "ema_decay", "ema_momentum", "polyak"}
    | {"dropout", "dropout_rate", "drop_rate", "drop_path", "label_smoothing"}
)
# How near to 1 a widened scale comes.
NEAREST_TO_ONE = 1e-5
Bounded: TypeAlias = Linear | Log | ReverseLog | Int | LogInt


def narrowed(scale: Bounded, low: float, high: float) -> Bounded:
    """The part of a scale between two positions of its unit interval, the bounds rounded outward.

    >>> narrowed(Log(1e-4, 1.0), 0.4, 0.6)
    Log(low=0.0039, high=0.026)
    >>> narrowed(ReverseLog(0.9, 0.999), 0.3, 1.0)
    ReverseLog(low=0.974, high=0.999)
    >>> narrowed(Int(1, 3), 0.7, 1.0)
    Int(low=2, high=3)
    """
    bottom, top = scale.from_unit(low), scale.from_unit(high)
    if isinstance(scale, (Int, LogInt)):
        return replace(scale, **dict(zip(("low", "high"), _two_values(scale, bottom, top, (low + high) / 2), strict=True)))
    if isinstance(scale, ReverseLog):
        bottom, top = round(1 - _rounded(1 - bottom, math.ceil), 14), round(1 - _rounded(1 - top, math.floor), 14)
    elif isinstance(scale, Log):
        bottom, top = _rounded(bottom, math.floor), _rounded(top, math.ceil)
    else:
        step = 10.0 ** (math.floor(math.log10(top - bottom)) - 1)
        bottom, top = _cleaned(math.floor(bottom / step + 1e-9) * step), _cleaned(math.ceil(top / step - 1e-9) * step)
    return replace(scale, low=max(bottom, scale.low), high=min(top, scale.high))


def _two_values(scale: Int | LogInt, low: int, high: int, middle: float) -> tuple[int, int]:
    """Bounds that differ, since a scale of one value is none: with the neighbour that lies nearer."""
    if low < high:
        return low, high
    below = high == scale.high or (low > scale.low and middle < scale.to_unit(low))
    return (low - 1, high) if below else (low, high + 1)


def widened(name: str, scale: Bounded, upper: bool) -> Bounded | None:
    """A scale with one end moved outward in its own coordinate; None where nothing sensible lies beyond.

    By a decade on the logarithmic scales and by half the range on the others, by less where the scale is short or a value
    such as 0 or 1 is in the way.

    Args:
        name: of the hyperparameter: a momentum stays below 1 whatever its scale.
        scale: to widen.
        upper: move the upper end, otherwise the lower.

    >>> widened("lr", Log(1e-4, 1e-1), upper=True)
    Log(low=0.0001, high=1.0)
    >>> widened("momentum", ReverseLog(0.9, 0.999), upper=True)
    ReverseLog(low=0.9, high=0.9999)
    >>> widened("dropout", Linear(0.0, 0.5), upper=False)
    >>> widened("batch_size", LogInt(16, 128), upper=True)
    LogInt(low=16, high=256)
    """
    bound = _above(name, scale) if upper else _below(scale)
    if bound is None or bound == (scale.high if upper else scale.low):
        return None
    return replace(scale, **{"high" if upper else "low": bound})  # type: ignore[arg-type]


def _above(name: str, scale: Bounded) -> float | None:
    low, high = scale.low, scale.high
    if isinstance(scale, Int):
        return high + max((high - low + 1) // 2, 1)
    if isinstance(scale, LogInt):
        return _whole(high * _factor(high / low), scale, math.floor)
    if isinstance(scale, ReverseLog):
        left = _rounded((1 - high) / _factor((1 - low) / (1 - high)), math.floor)
        return round(1 - left, 14) if left >= NEAREST_TO_ONE else None
    more = _rounded(high * _factor(high / low), round) if isinstance(scale, Log) else _cleaned(high + (high - low) / 2)
    if high <= 1 < more and name.rpartition(".")[2] in BELOW_ONE:
        return _cleaned((1 + high) / 2) if high < 1 else None
    return more


def _below(scale: Bounded) -> float | None:
    low, high = scale.low, scale.high
    if isinstance(scale, Int):
        return max(low - max((high - low + 1) // 2, 1), 1) if low >= 1 else None
    if isinstance(scale, LogInt):
        return max(_whole(low / _factor(high / low), scale, math.ceil), 1)
    if isinstance(scale, Log):
        return _rounded(low / _factor(high / low), round)
    if isinstance(scale, ReverseLog):
        less = round(1 - _rounded((1 - low) * _factor((1 - low) / (1 - high)), round), 14)
        return max(less, 0.0) if low >= 0 else less
    # What began above 0 has a reason to, and 0 is no place to go on from.
    less = _cleaned(low - (high - low) / 2)
    return less if low < 0 or less > 0 else _cleaned(low / 2) if low > 0 else None


def _factor(span: float) -> float:
    """How far a logarithmic scale moves: a decade, or half of its own length if that is less."""
    return min(10.0, max(math.sqrt(span), 2.0))


def _whole(value: float, scale: LogInt, rounding: Callable[[float], int]) -> int:
    """A whole number near a value: a power of two where the bounds are such."""
    if all(bound & (bound - 1) == 0 for bound in (scale.low, scale.high)):
        return int(2 ** rounding(round(math.log2(max(value, 1.0)), 9)))
    return int(_rounded(value, round)) if value >= 100 else max(round(value), 1)


def _rounded(value: float, rounding: Callable[[float], int]) -> float:
    """A positive value with two significant digits; what has no more is left alone."""
    decimals = 1 - math.floor(math.log10(value))
    scaled = value * 10.0**decimals
    near = round(scaled)
    whole = near if math.isclose(scaled, near, rel_tol=1e-9) else rounding(scaled)
    return float(f"{whole}e{-decimals}")


def _cleaned(value: float) -> float:
    return float(f"{value:.12g}")
