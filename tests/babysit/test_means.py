"""A long series in a few means."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.means import MOST, Means


@given(values=st.lists(st.integers(-100, 100), max_size=500))
def test_there_are_never_many_and_their_mean_is_that_of_the_series(values):
    means = Means()
    means.add(enumerate(map(float, values)))
    taken = means.take()
    assert len(taken) <= MOST
    steps = [-1, *(step for step, _ in taken)]
    sums = [mean * (after - before) for (after, mean), before in zip(taken, steps, strict=False)]
    assert math.isclose(sum(sums), sum(values), abs_tol=1e-6)
    assert means.take() == []


def test_a_short_series_is_kept_as_it_is():
    means = Means()
    means.add([(3, 1.0), (5, 2.0)])
    assert means.peek() == means.take() == [(3, 1.0), (5, 2.0)]


@given(values=st.lists(st.floats(-1, 1), max_size=200), cut=st.integers(0, 200))
def test_it_is_the_same_with_a_save_in_between(values, cut):
    whole, first, second = Means(), Means(), Means()
    points = list(enumerate(values))
    whole.add(points)
    first.add(points[:cut])
    second.load_state_dict(first.state_dict())
    second.add(points[cut:])
    assert second.take() == whole.take()


def test_a_long_series_comes_to_the_same_in_parts():
    whole, parts = Means(), Means()
    points = [(step, float(step % 7)) for step in range(5000)]
    whole.add(points)
    for start in range(0, 5000, 16):
        parts.add(points[start : start + 16])
    assert parts.take() == whole.take()
