"""Scales: honest shares, reachable bounds, and a way back that gives the very same value."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lightning_hp import Choice, ConfigError, Int, Linear, Log, LogInt, ReverseLog
from lightning_hp.description import label

UNITS = st.floats(0, 1) | st.sampled_from([0.0, 5e-324, 0.5, 1 - 2**-53, 1.0])
SCALES = [
    Linear(-1.5, 2.5),
    Linear(0, 1e-9),
    Log(1e-5, 1.0),
    Log(1e-300, 1e300),
    ReverseLog(0.9, 0.999),
    ReverseLog(-3.0, 1 - 1e-9),
    Int(-3, 7),
    Int(1, 2**52),
    Int(-(2**51), 2**51 - 2),
    LogInt(1, 9),
    LogInt(16, 2**40),
    Choice("relu", "tanh", None, 0.5),
]


class Unnamed:
    """An object whose text is its address."""


@st.composite
def continuous(draw):
    """Any Linear, Log or ReverseLog that may be made."""
    kind = draw(st.sampled_from([Linear, Log, ReverseLog]))
    spans = {Linear: (-1e12, 1e12), Log: (1e-300, 1e300), ReverseLog: (-1e6, 1 - 1e-12)}
    low, high = sorted(draw(st.lists(st.floats(*spans[kind]), min_size=2, max_size=2, unique=True)))
    # A range that rounding would eat up is refused.
    assume(high - low >= 1e-9 * max(abs(low), abs(high), 1.0 if kind is ReverseLog else 1e-280))
    return kind(low, high)


@pytest.mark.parametrize("scale", SCALES, ids=repr)
def test_the_ends_of_the_unit_interval_are_the_bounds(scale):
    first, last = (scale.values[0], scale.values[-1]) if isinstance(scale, Choice) else (scale.low, scale.high)
    assert scale.from_unit(0.0) == first
    assert scale.from_unit(1.0) == last


@pytest.mark.parametrize("scale", SCALES, ids=repr)
@given(unit=UNITS)
def test_value_to_unit_to_value_is_the_identity(scale, unit):
    value = scale.from_unit(unit)
    back = scale.to_unit(value)
    assert 0 <= back <= 1
    assert scale.from_unit(back) == value
    assert type(scale.from_unit(back)) is type(value)


@given(scale=continuous(), unit=UNITS)
def test_any_bounds_are_kept_reached_and_inverted(scale, unit):
    value = scale.from_unit(unit)
    assert scale.low <= value <= scale.high
    assert (scale.from_unit(0.0), scale.from_unit(1.0)) == (scale.low, scale.high)
    assert (scale.to_unit(scale.low), scale.to_unit(scale.high)) == (0.0, 1.0)
    assert scale.from_unit(scale.to_unit(value)) == value


@given(low=st.integers(1, 2**39), span=st.integers(1, 2**39), unit=UNITS)
def test_any_whole_numbers_are_kept_and_inverted(low, span, unit):
    for scale in (Int(low, low + span), LogInt(low, low + span)):
        value = scale.from_unit(unit)
        assert isinstance(value, int)
        assert low <= value <= low + span
        assert scale.from_unit(scale.to_unit(value)) == value


@pytest.mark.parametrize("scale", SCALES[:-1], ids=repr)
def test_values_rise_with_the_unit(scale):
    values = scale.from_unit(np.linspace(0, 1, 2001))
    assert np.all(np.diff(values) >= 0)


@pytest.mark.parametrize("scale", SCALES, ids=repr)
def test_arrays_give_what_scalars_give_in_their_shape(scale):
    units = np.random.default_rng(0).random((3, 5))
    values = scale.from_unit(units)
    assert values.shape == (3, 5)
    assert [scale.from_unit(unit) for unit in units.flat] == list(values.flat)
    back = scale.to_unit(values)
    assert back.shape == (3, 5)
    assert [scale.to_unit(value) for value in values.flat] == list(back.flat)


@pytest.mark.parametrize("scale", SCALES, ids=repr)
def test_scalars_come_out_as_plain_python(scale):
    assert type(scale.from_unit(0.3)).__module__ == "builtins"
    assert type(scale.to_unit(scale.from_unit(0.3))) is float


# Shares: what each scale gives to each part of its range.


@pytest.mark.parametrize(
    ("scale", "coordinate"),
    [
        (Linear(-1.0, 3.0), lambda v: v),
        (Log(1e-4, 1.0), np.log),
        (ReverseLog(0.9, 0.999), lambda v: -np.log(1 - v)),
    ],
    ids=["Linear", "Log", "ReverseLog"],
)
def test_draws_are_uniform_in_the_scales_own_coordinate(scale, coordinate):
    values = scale.from_unit(np.random.default_rng(1).random(20_000))
    low, high = coordinate(scale.low), coordinate(scale.high)
    assert stats.kstest((coordinate(values) - low) / (high - low), "uniform").pvalue > 1e-3


def test_log_gives_each_decade_the_same_share():
    decades = np.floor(np.log10(Log(1e-4, 1.0).from_unit(np.random.default_rng(2).random(40_000))))
    _, counts = np.unique(decades, return_counts=True)
    assert len(counts) == 4
    assert stats.chisquare(counts).pvalue > 1e-3


def test_half_of_a_reverse_log_on_momentum_lies_above_099():
    values = ReverseLog(0.9, 0.999).from_unit(np.linspace(0, 1, 100_001))
    assert np.mean(values > 0.99) == pytest.approx(0.5, abs=1e-4)


def test_a_mirrored_log_is_another_thing():
    mirrored = 0.9 + 0.999 - Log(0.9, 0.999).from_unit(np.linspace(0, 1, 100_001))
    assert np.mean(mirrored > 0.99) == pytest.approx(0.095, abs=5e-4)


def test_whole_numbers_are_uniform_both_ends_included():
    values = Int(-2, 4).from_unit(np.random.default_rng(3).random(70_000))
    seen, counts = np.unique(values, return_counts=True)
    assert seen.tolist() == [-2, -1, 0, 1, 2, 3, 4]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_log_integers_get_the_share_of_their_stretch_both_ends_included():
    values = LogInt(1, 12).from_unit(np.random.default_rng(4).random(120_000))
    seen, counts = np.unique(values, return_counts=True)
    assert seen.tolist() == list(range(1, 13))
    shares = np.log((seen + 0.5) / (seen - 0.5)) / math.log(12.5 / 0.5)
    assert stats.chisquare(counts, shares * len(values)).pvalue > 1e-3


def test_choices_are_uniform():
    values = Choice("a", "b", "c").from_unit(np.random.default_rng(5).random(30_000))
    _, counts = np.unique(values.astype(str), return_counts=True)
    assert stats.chisquare(counts).pvalue > 1e-3


# Grids


@pytest.mark.parametrize(
    ("scale", "points", "grid"),
    [
        (Linear(0, 1), 3, [0.0, 0.5, 1.0]),
        (Linear(0, 1), 1, [0.5]),
        (Log(1e-4, 1.0), 5, [1e-4, 1e-3, 1e-2, 0.1, 1.0]),
        (ReverseLog(0.9, 0.999), 3, [0.9, 0.99, 0.999]),
        (Int(2, 4), 2, [2, 4]),
        (Int(2, 4), 9, [2, 3, 4]),
        (LogInt(16, 256), 5, [16, 32, 64, 128, 256]),
        (LogInt(1, 3), 9, [1, 2, 3]),
        (LogInt(16, 256), 1, [64]),
        (Choice("relu", None, 2), 1, ["relu", None, 2]),
    ],
    ids=repr,
)
def test_a_grid_is_even_in_the_scales_own_coordinate(scale, points, grid):
    assert scale.grid(points) == grid


# Errors


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Linear(1, 1), "low < high, got low=1.0, high=1.0"),
        (lambda: Linear("0", 1), "low='0', which is text"),
        (lambda: Linear(0, math.inf), "high=inf"),
        (lambda: Linear(math.nan, 1), "low=nan"),
        (lambda: Linear(-1.7e308, 1.7e308), "a range that a float can hold"),
        (lambda: Linear(True, 2), "low=True"),
        (lambda: Log(0, 1), "0 < low < high, got low=0.0"),
        (lambda: Log(-1, 1), "low=-1.0"),
        (lambda: Log(1, 0.1), "low < high, got low=1.0, high=0.1"),
        (lambda: Log(1, 1 + 1e-12), "differ by more than a part in 10**9"),
        (lambda: ReverseLog(0, 1e-20), "differ by more"),
        (lambda: ReverseLog(0.9, 1), "low < high < 1, got low=0.9, high=1.0"),
        (lambda: ReverseLog(0.9, 1.5), "try high=0.999"),
        (lambda: Int(1, 2.5), "whole numbers, got high=2.5"),
        (lambda: Int(3, 1), "low < high"),
        (lambda: Int(0, 2**60), "2**52"),
        (lambda: Int(0, 2**52), "2**52"),
        (lambda: Int(1, 10**400), "got a high of more than 308 digits"),
        (lambda: Linear(-(10**5000), 1), "got a low of more than 308 digits"),
        (lambda: Linear("1e-4", 1), "low='1e-4', which is text"),
        (lambda: LogInt(0, 8), "1 <= low < high"),
        (lambda: LogInt(1, 2**41), "2**40"),
        (lambda: Choice(), "at least one value"),
        (lambda: Choice(["relu", "tanh"]), "write Choice(*values)"),
        (lambda: Choice(np.array([1, 2])), "got one ndarray: write Choice(*values)"),
        (lambda: Choice(width for width in (1, 2)), "got one generator: write Choice(*values)"),
        (lambda: Choice(Log(1e-3, 1), 0.0), "Choice holds the scale Log(low=0.001, high=1.0), which the model would get"),
        (lambda: Choice(0.0, Log(1e-3, 1).when(layers=1)), "make it a hyperparameter of its own"),
        (lambda: Log(1e-3, 1).grid(0), "grid(points=) needs a whole number of at least 1, got 0"),
        (lambda: Choice("relu", "relu"), "'relu' more than once"),
        (lambda: Choice(1, "1"), "'1' more than once"),
        (lambda: Choice(lambda: 1, lambda: 2), "more than once: choose between names, such as 'small' and 'large'"),
        (lambda: Choice(Unnamed(), 1), "whose address is another one in each run: choose between names"),
    ],
)
def test_bad_bounds_are_named(make, told):
    with pytest.raises(ConfigError) as error:
        make()
    assert told in str(error.value)


@pytest.mark.parametrize("unit", [-1e-9, 1 + 1e-9, math.nan, [0.5, 2.0]])
@pytest.mark.parametrize("scale", SCALES, ids=repr)
def test_a_position_outside_the_unit_interval_is_refused(scale, unit):
    with pytest.raises(ValueError, match="is no position in"):
        scale.from_unit(unit)


@pytest.mark.parametrize(
    ("scale", "value", "told"),
    [
        (Linear(0, 1), 1.5, "1.5 is outside [0.0, 1.0]"),
        (Log(1e-2, 1), [0.1, 1e-3], "0.001 is outside"),
        (ReverseLog(0.9, 0.99), math.nan, "nan is outside"),
        (Int(1, 3), 2.5, "2.5 is not a whole number"),
        (LogInt(1, 3), 4, "4.0 is outside [1, 3]"),
        (Choice("relu", 1), True, "True is not one of the values"),
        (Log(1e-2, 1), "0.1", "'0.1' is not a number, which is text: write it without quotes"),
        (Int(1, 3), True, "True is not a number"),
        (Linear(0, 1), [0.5, None], "None is not a number"),
    ],
)
def test_a_value_that_is_not_the_scales_is_refused(scale, value, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        scale.to_unit(value)


def test_whole_floats_and_numpy_numbers_are_fine_as_bounds():
    assert Int(np.int64(1), 3.0) == Int(1, 3)
    assert Linear(np.float32(0.5), 1) == Linear(0.5, 1.0)


def test_numpys_numbers_are_values_and_points():
    assert Log(1e-2, 1).to_unit(np.float32(0.1)) == pytest.approx(0.5)
    assert Choice(1, "relu").to_unit(np.int64(1)) == Choice(1, "relu").to_unit(1)
    assert Choice(1, "relu").to_unit(np.str_("relu")) == Choice(1, "relu").to_unit("relu")
    assert Log(1e-2, 1).grid(np.int64(3)) == [0.01, 0.1, 1.0]


@pytest.mark.parametrize(
    ("scale", "value", "own"),
    [(Int(1, 8), 4.0, 4), (LogInt(1, 8), np.int64(4), 4), (Log(1e-2, 1), 1, 1.0), (Choice(1, "relu"), np.int64(1), 1)],
)
def test_a_value_of_another_type_is_made_the_scales_own(scale, value, own):
    made = scale.own(value)
    assert (made, type(made)) == (own, type(own))


def test_labels_are_what_json_has_and_names_for_the_rest():
    assert [label(value) for value in (None, True, 3, 0.5, "x", np.float64(0.5), dict, len)] == [
        None, True, 3, 0.5, "x", 0.5, "dict", "len",
    ]  # fmt: skip


@given(count=st.integers(2**52 - 2**20, 2**52), index=st.integers(0, 2**52))
def test_whole_numbers_are_inverted_up_to_the_largest_count(count, index):
    value = 1 + index % count
    scale = Int(1, count)
    assert scale.from_unit(scale.to_unit(value)) == value


@pytest.mark.parametrize("bound", [math.nan, -math.inf])
def test_a_number_is_not_called_text(bound):
    with pytest.raises(ConfigError, match=rf"got low={bound}$"):
        Linear(bound, 1)


def test_a_bound_that_is_a_word_gets_no_advice_on_numbers():
    with pytest.raises(ConfigError, match=r"got high='ten'$"):
        Linear(0, "ten")


@pytest.mark.parametrize("points", [0, -3, 2.5, True])
@pytest.mark.parametrize("scale", SCALES, ids=repr)
def test_a_grid_of_no_points_is_refused(scale, points):
    with pytest.raises(ConfigError, match="at least 1, got"):
        scale.grid(points)
