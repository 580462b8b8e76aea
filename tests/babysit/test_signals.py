"""The plateau signal: when a curve counts as stalled. Pure states, no training."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.signals import Plateau, PlateauState, observe

VALUES = st.lists(st.floats(-10, 10) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=60)
SETTINGS = st.builds(
    Plateau,
    mode=st.sampled_from(["min", "max"]),
    patience=st.integers(0, 5),
    min_delta=st.sampled_from([0.0, 0.1, 3.0]),
    cooldown=st.integers(0, 5),
)


def plateaus(settings, values):
    """The checks at which the signal says plateau."""
    state, found = PlateauState(), []
    for check, value in enumerate(values):
        state, plateau = observe(settings, state, value)
        found += [check] if plateau else []
    return found


@pytest.mark.parametrize(
    ("patience", "cooldown", "expected"),
    [
        (0, 0, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (2, 0, [3, 6, 9]),
        (2, 1, [3, 7]),
        (0, 3, [1, 5, 9]),
        (20, 0, []),
    ],
)
def test_a_flat_curve_is_a_plateau_after_patience_and_again_after_cooldown_and_patience(patience, cooldown, expected):
    assert plateaus(Plateau("min", patience, 0.0, cooldown), [1.0] * 10) == expected


@pytest.mark.parametrize(("mode", "sign"), [("min", -1), ("max", 1)])
def test_a_curve_that_improves_is_never_one(mode, sign):
    assert plateaus(Plateau(mode, 0, 0.0, 0), [sign * value for value in range(20)]) == []
    assert plateaus(Plateau(mode, 0, 0.0, 0), [-sign * value for value in range(4)]) == [1, 2, 3]


def test_improvements_up_to_min_delta_do_not_count():
    creeping = [1.0 - 0.01 * check for check in range(6)]
    assert plateaus(Plateau("min", 1, 0.025, 0), creeping) == [2, 5]
    assert plateaus(Plateau("min", 1, 0.009, 0), creeping) == []


def test_an_improvement_starts_the_count_anew():
    assert plateaus(Plateau("min", 2, 0.0, 0), [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]) == [6]


def test_a_curve_of_nan_never_improves():
    assert plateaus(Plateau("max", 1, 0.0, 0), [math.nan] * 4) == [1, 3]


@given(settings=SETTINGS, values=VALUES)
def test_between_two_plateaus_lie_patience_and_cooldown(settings, values):
    found = plateaus(settings, values)
    assert all(b - a > settings.patience + settings.cooldown for a, b in itertools.pairwise(found))


@given(settings=SETTINGS, values=VALUES)
def test_what_is_remembered_as_best_was_seen_and_beaten_by_no_more_than_min_delta(settings, values):
    state, sign = PlateauState(), 1 if settings.mode == "max" else -1
    for value in values:
        state, _ = observe(settings, state, value)
    numbers = [value for value in values if not math.isnan(value)]
    assert (state.best is None) == (numbers == [])
    assert all(value == state.best or not sign * (value - state.best) > settings.min_delta for value in numbers)
    assert state.best is None or state.best in numbers
