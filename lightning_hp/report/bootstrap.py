"""What the best of some values would be if they were drawn once more: the bootstrap's limit, without drawing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_hp.trial import Mode

Array = NDArray[np.float64]


def best_of(values: Array, mode: Mode, counts: ArrayLike, quantile: float) -> Array:
    """A quantile of the best of so many values drawn with replacement.

    Of N values, the best of n is worse than the k best ones with probability (1 - k / N) ** n. (Its expectation is that of
    Dodge et al., Show Your Work, 2019.)

    Args:
        values: from which is drawn; NaN for a trial that brings none, which is worse than all others.
        mode: whether small values are good, or large ones.
        counts: how many are drawn.
        quantile: in how many of all cases the best is at least as good.

    Returns:
        A value for each of the counts; infinite where the best is likely to be none.

    >>> best_of(np.arange(100.0), "min", [1, 10], 0.5).tolist()
    [49.0, 6.0]
    """
    sign = 1.0 if mode == "min" else -1.0
    costs = np.sort(np.nan_to_num(sign * values, nan=np.inf))
    # The fewest of the best ones of which one is drawn that surely; less what rounding adds to a whole number.
    least = np.ceil(len(costs) * (1 - (1 - quantile) ** (1 / np.asarray(counts))) - 1e-9).astype(int)
    best: Array = sign * costs[np.clip(least, 1, len(costs)) - 1]
    return best
