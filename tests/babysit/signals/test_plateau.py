"""The plateau signal: when a curve counts as stalled, against a plain recount of it for every setting and any numbers."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.signals import Finding, Plateau
from lightning_hp.errors import ConfigError

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 3).map(float)
CURVES = st.lists(NUMBERS, max_size=50)
SETTINGS = st.builds(
    Plateau,
    mode=st.sampled_from(["min", "max"]),
    patience=st.integers(0, 6),
    min_delta=st.sampled_from([0.0, 1e-4, 1.0]) | st.floats(0, 1e300),
    cooldown=st.integers(0, 6),
)


def states(settings, curve, state=None):
    """The state after each check, and whether it was a plateau."""
    state, seen = state or settings.begin(), []
    for value in curve:
        state, finding = settings.observe(state, 0, value)
        seen.append((state, finding is not None))
    return seen


def plateaus(settings, curve):
    """The checks at which the signal says plateau."""
    return [check for check, (_, plateau) in enumerate(states(settings, curve)) if plateau]


def recounted(settings, curve):
    """The plateaus as the documentation words them: patience bad checks are borne, those of the cooldown do not count."""
    best, bad, quiet_until, found = None, 0, 0, []
    for check, value in enumerate(curve):
        sign = 1 if settings.mode == "max" else -1
        if math.isfinite(value) and (best is None or sign * (value - best) > settings.min_delta):
            best, bad = value, 0
        elif check < quiet_until:
            bad = 0
        else:
            bad += 1
        if bad > settings.patience:
            found.append(check)
            bad, quiet_until = 0, check + 1 + settings.cooldown
    return found


@given(settings=SETTINGS, curve=CURVES)
def test_the_rule_is_what_its_documentation_says(settings, curve):
    assert plateaus(settings, curve) == recounted(settings, curve)


@given(settings=SETTINGS, curve=CURVES)
def test_min_and_max_mirror_each_other(settings, curve):
    mirrored = replace(settings, mode="max" if settings.mode == "min" else "min")
    assert plateaus(mirrored, [-value for value in curve]) == plateaus(settings, curve)


@given(settings=SETTINGS, curve=CURVES)
def test_counters_stay_in_their_ranges(settings, curve):
    for state, plateau in states(settings, curve):
        assert 0 <= state["bad_checks"] <= settings.patience
        assert 0 <= state["cooldown_left"] <= settings.cooldown
        if plateau:
            assert (state["bad_checks"], state["cooldown_left"]) == (0, settings.cooldown)


@given(settings=SETTINGS, curve=CURVES)
def test_the_best_only_ever_gets_better(settings, curve):
    sign = 1 if settings.mode == "max" else -1
    bests = [state["best"] for state, _ in states(settings, curve) if state["best"] is not None]
    assert all(sign * later >= sign * earlier for earlier, later in itertools.pairwise(bests))


@given(settings=SETTINGS, curve=CURVES, split=st.integers(0, 50))
def test_a_curve_taken_up_again_from_its_state_goes_on_alike(settings, curve, split):
    first = states(settings, curve[:split])
    state = first[-1][0] if first else None
    assert first + states(settings, curve[split:], state) == states(settings, curve)


@given(settings=SETTINGS, curve=CURVES)
def test_observing_leaves_the_old_state_as_it_was(settings, curve):
    state = {"best": 1.0, "bad_checks": 0, "cooldown_left": settings.cooldown}
    kept = dict(state)
    states(settings, curve, state)
    assert state == kept


@given(settings=SETTINGS, curve=CURVES)
def test_between_two_plateaus_lie_patience_and_cooldown(settings, curve):
    found = plateaus(settings, curve)
    assert all(b - a > settings.patience + settings.cooldown for a, b in itertools.pairwise(found))


@given(settings=SETTINGS, curve=CURVES)
def test_what_is_remembered_as_best_was_seen_and_beaten_by_no_more_than_min_delta(settings, curve):
    state, sign = settings.begin(), 1 if settings.mode == "max" else -1
    for value in curve:
        state, _ = settings.observe(state, 0, value)
    numbers = [value for value in curve if math.isfinite(value)]
    assert (state["best"] is None) == (numbers == [])
    assert all(value == state["best"] or not sign * (value - state["best"]) > settings.min_delta for value in numbers)
    assert state["best"] is None or state["best"] in numbers


@pytest.mark.parametrize("settings", [Plateau("min", 0, 0.0, 0), Plateau("max", 3, 0.1, 2)])
def test_the_first_finite_number_is_an_improvement_whatever_it_is(settings):
    for value in (0.0, -1e308, 1e308):
        assert settings.observe(settings.begin(), 0, value) == ({**settings.begin(), "best": value}, None)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_improves_and_can_be_beaten(mode, value):
    settings = Plateau(mode, 1, 0.0, 0)
    assert plateaus(settings, [value] * 4) == [1, 3]
    seen = states(settings, [value, 5.0, value, 5.0])
    assert [plateau for _, plateau in seen] == [False, False, False, True]
    assert [state["best"] for state, _ in seen] == [None, 5.0, 5.0, 5.0]


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


def test_nan_counts_as_a_bad_check_and_is_never_the_best():
    settings = Plateau("min", 1, 0.0, 0)
    seen = states(settings, [math.nan, 1.0, math.nan, math.nan, 0.5])
    assert [plateau for _, plateau in seen] == [False, False, False, True, False]
    assert [state["best"] for state, _ in seen] == [None, 1.0, 1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("mode", "best", "value", "better"),
    [
        ("min", 1.0, 0.75, False),
        ("min", 1.0, 0.74, True),
        ("min", 1.0, 1.5, False),
        ("max", 1.0, 1.25, False),
        ("max", 1.0, 1.26, True),
        ("max", 1.0, 0.5, False),
        ("max", None, -1e308, True),
        ("max", 1.0, math.inf, False),
        ("min", 1.0, -math.inf, False),
    ],
)
def test_an_improvement_is_more_than_min_delta_in_the_right_direction(mode, best, value, better):
    assert Plateau(mode, 0, 0.25, 0).improved(best, value) is better


def test_an_improvement_in_the_cooldown_counts_as_best_and_shortens_nothing():
    settings = Plateau("min", 0, 0.0, 2)
    seen = states(settings, [1.0, 1.0, 0.5, 0.6, 0.6])
    assert [plateau for _, plateau in seen] == [False, True, False, False, True]
    assert seen[2][0] == {"best": 0.5, "bad_checks": 0, "cooldown_left": 1}


def test_patience_starts_anew_after_the_cooldown_and_not_within_it():
    settings = Plateau("min", 2, 0.0, 3)
    assert plateaus(settings, [1.0] * 16) == [3, 9, 15]


def test_an_intervention_by_somebody_else_starts_the_count_anew():
    settings = Plateau("min", 2, 0.0, 1)
    before = {"best": 0.5, "bad_checks": 2, "cooldown_left": 0}
    assert settings.intervened(before) == {"best": 0.5, "bad_checks": 0, "cooldown_left": 1}


def test_a_finding_names_the_step_and_the_values():
    signal = Plateau("max", 1, 0.0, 0)
    state, found = signal.begin(), []
    for step, value in ((10, 0.5), (20, 0.4), (30, 0.45)):
        state, finding = signal.observe(state, step, value)
        found.append(finding)
    assert found == [None, None, Finding("plateau", 30, "0.45 has not beaten 0.5 in 2 checks")]


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "up"}, {"patience": -1}, {"patience": 1.5}, {"min_delta": -1.0}, {"min_delta": math.nan}, {"cooldown": -1}],
)
def test_a_setting_out_of_its_range_is_an_error_that_names_it(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"Plateau needs {name} to be"):
        Plateau(**{"mode": "min", **wrong})
