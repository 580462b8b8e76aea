"""Resize: other bounds for a scale, none of them nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp import Int, Linear, Log, LogInt, ReverseLog
from lightning_hp.advice.resize import narrowed, widened

SCALES = [Linear(0.0, 0.5), Linear(-3.0, 2.0), Log(1e-4, 1.0), ReverseLog(0.5, 0.999), Int(1, 3), Int(32, 128), LogInt(16, 256)]


@pytest.mark.parametrize(
    ("name", "scale", "upper", "bound"),
    [
        ("lr", Log(1e-4, 0.1), True, 1.0),
        ("lr", Log(1e-4, 0.1), False, 1e-5),
        ("lr", Log(0.01, 0.1), True, 0.32),
        ("momentum", ReverseLog(0.9, 0.999), True, 0.9999),
        ("momentum", ReverseLog(0.9, 0.99999), True, None),
        ("momentum", ReverseLog(0.5, 0.99), False, 0.0),
        ("momentum", Linear(0.5, 0.9), True, 0.95),
        ("model.dropout", Linear(0.0, 0.8), True, 0.9),
        ("dropout", Linear(0.0, 1.0), True, None),
        ("dropout", Linear(0.0, 0.5), False, None),
        ("x", Linear(0.0, 1.0), True, 1.5),
        ("x", Linear(0.1, 1.0), False, 0.05),
        ("x", Linear(-1.0, 1.0), False, -2.0),
        ("layers", Int(1, 3), True, 4),
        ("layers", Int(1, 3), False, None),
        ("hidden", Int(32, 128), False, 1),
        ("batch_size", LogInt(16, 128), True, 256),
        ("batch_size", LogInt(16, 128), False, 8),
        ("batch_size", LogInt(1, 128), False, None),
        ("n", LogInt(10, 1000), True, 10000),
    ],
    ids=repr,
)
def test_an_end_moves_in_the_scales_own_coordinate(name, scale, upper, bound):
    wider = widened(name, scale, upper)
    assert (wider and (wider.high if upper else wider.low)) == bound
    if wider:
        assert (wider.low if upper else wider.high) == (scale.low if upper else scale.high)


@pytest.mark.parametrize("scale", SCALES, ids=repr)
@given(ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_part_holds_what_it_was_cut_for_and_no_more_than_the_whole(scale, ends):
    low, high = sorted(ends)
    if high - low < 0.01:
        high, low = min(low + 0.01, 1.0), max(low - 0.01, 0.0)
    part = narrowed(scale, low, high)
    # But for what is lost on a number that one would write.
    slack = 1e-9 * (part.high - part.low)
    assert scale.low <= part.low <= scale.from_unit(low) + slack
    assert scale.from_unit(high) - slack <= part.high <= scale.high
