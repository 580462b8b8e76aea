"""Median, spread, noise and slope against numpy and scipy, and what a few wild values do to them: nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation, norm, theilslopes

from lightning_hp.babysit.signals.robust import deviation, median, noise, theil_sen, usable

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=30)


@given(values=VALUES)
def test_median_and_deviation_are_the_textbooks(values):
    assert median(values) == pytest.approx(np.median(values))
    assert deviation(values) == pytest.approx(median_abs_deviation(values, scale="normal"), rel=1e-4, abs=1e-9)


@given(values=VALUES)
def test_the_slope_is_scipys(values):
    ours, scipys = theil_sen(values, 1.0), theilslopes(values)
    assert ours.value == pytest.approx(scipys.slope, abs=1e-9)
    assert ours.low <= ours.value <= ours.high


@pytest.mark.parametrize("count", [8, 20])
def test_the_bounds_hold_the_true_slope_as_often_as_they_say(count):
    random = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        slope = theil_sen(list(0.3 * np.arange(count) + random.normal(size=count)), 1.0)
        held += slope.low <= 0.3 <= slope.high
    # Bounds are slopes of pairs, of which few values have few.
    assert held / 1000 == pytest.approx(1 - 2 * norm.sf(1.0), abs=0.08)


def test_two_wild_values_of_ten_move_the_slope_and_the_noise_little():
    straight = [float(step) for step in range(10)]
    wild = [*straight[:4], 1e9, -1e9, *straight[6:]]
    assert theil_sen(wild, 1.0).value == 1.0
    assert noise(wild, 1.0) == 0.0


def test_noise_is_what_lies_about_a_trend_and_not_the_trend():
    random = np.random.default_rng(0)
    estimates = [noise(list(5.0 * np.arange(30) + random.normal(size=30)), 5.0) for _ in range(200)]
    assert np.median(estimates) == pytest.approx(1.0, abs=0.1)

    assert noise([0.5, -0.5] * 4, 0.0) == pytest.approx(1.0, abs=0.1)


def test_what_differences_may_overflow_with_is_not_usable():
    assert [usable(value) for value in (0.0, 1e150, 1e308, float("inf"), float("nan"))] == [True, True, False, False, False]
