"""Statistics of short windows that a few wild values don't sway: median, spread, and the slope with its uncertainty.

Plain floats, since windows are short and signals run at every step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

# Of a normal distribution, the standard deviation in units of the median absolute deviation.
_MAD_TO_DEVIATION = 1.4826
# Differences of larger numbers would overflow.
LARGEST = 1e150


def usable(value: float) -> bool:
    """Whether a value can be calculated with: finite, and differences of such values are too."""
    return abs(value) <= LARGEST


def all_usable(values: Sequence[float]) -> bool:
    """Whether all of one or more values can be calculated with."""
    # What is NaN anywhere is so in the sum, whereas the least and the greatest may miss it.
    return math.isfinite(sum(values)) and min(values) >= -LARGEST and max(values) <= LARGEST


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def deviation(values: Sequence[float]) -> float:
    """The standard deviation as the median absolute deviation estimates it."""
    middle = median(values)
    return _MAD_TO_DEVIATION * median([abs(value - middle) for value in values])


def noise(values: Sequence[float], slope: float) -> float:
    """The standard deviation about a trend, from the changes between neighbours, of which a jump is only one.

    Of values that alternate it is up to twice as large.
    """
    changes = [abs(after - before - slope) for before, after in itertools.pairwise(values)]
    return _MAD_TO_DEVIATION * median(changes) / math.sqrt(2)


@dataclass(frozen=True)
class Slope:
    """A slope per value, and the bounds that it lies between as surely as was asked for."""

    value: float
    low: float
    high: float


def theil_sen(values: Sequence[float], deviations: float) -> Slope:
    """The median of the slopes between all pairs of values, and its bounds by Kendall's statistic.

    Sen, "Estimates of the regression coefficient based on Kendall's tau", 1968. Up to 29 % of the values may be wild.

    Args:
        values: at least two, equally spaced.
        deviations: standard deviations of Kendall's statistic between the slope and its bounds: 1 for 84 % sure of each.

    >>> theil_sen([0.0, 1.0, 2.0, 50.0, 4.0], deviations=1.0).value
    1.0
    """
    count = len(values)
    slopes = sorted((values[j] - values[i]) / (j - i) for i in range(count) for j in range(i + 1, count))
    reach = deviations * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = round((len(slopes) - reach) / 2)
    high = round((len(slopes) + reach) / 2)
    return Slope(median(slopes), slopes[max(low, 0)], slopes[min(high, len(slopes) - 1)])
