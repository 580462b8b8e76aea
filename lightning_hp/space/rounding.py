"""Rounding that ends exactly where a number written with that many digits would end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The largest power of ten that a float holds exactly: to multiply or divide by it rounds once, as reading a number does.
EXACT_POWER = 22


def round_decimals(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Values with so many digits behind the point.

    >>> round_decimals(np.array([0.1 + 0.2]), 14).tolist()
    [0.3]
    """
    if digits <= EXACT_POWER:
        return np.asarray(np.round(values, digits))
    # Where numpy would multiply by an inexact power of ten, whole multiples of one step still come back the same.
    step = 10.0**-digits
    return np.asarray(np.rint(values / step) * step)


def round_significant(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Positive values with so many significant digits.

    >>> round_significant(np.array([0.1 + 0.2, 3e-5 / 7]), 12).tolist()
    [0.3, 4.28571428571e-06]
    """
    decimals = digits - 1 - np.floor(np.log10(values))
    exact = np.abs(decimals) <= EXACT_POWER
    power = 10.0 ** np.where(exact, np.abs(decimals), 0.0)
    rounded = np.where(decimals >= 0, np.rint(values * power) / power, np.rint(values / power) * power)
    if not np.all(exact):
        # Only values below 1e-11 or above 1e34 come here; text is the exact way, and slow.
        text = np.char.mod(f"%.{digits - 1}e", np.atleast_1d(values))
        rounded = np.where(exact, rounded, text.astype(np.float64).reshape(values.shape))
    return rounded
