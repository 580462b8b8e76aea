"""Moves: bounds are reached, held and not crossed, and what is off stays off."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.actions import Adjust, Knobs, Move
from lightning_hp.babysit.policies.moves import adjust, times_distance, times_lr

FACTORS = st.floats(0.01, 100)


@given(lr=st.floats(1e-8, 10), factor=FACTORS, min_lr=st.just(0.0) | st.floats(1e-8, 1.0))
def test_lr_goes_up_freely_and_down_to_its_bound(lr, factor, min_lr):
    (times,) = times_lr([Knobs(lr, None)], factor, min_lr)
    if factor >= 1.0:
        assert times == factor
    else:
        assert factor <= times <= 1.0
        assert lr * times >= min(lr, min_lr) * (1 - 1e-6)


@given(momentum=st.floats(1e-3, 0.9999), factor=FACTORS, most=st.floats(0, 0.9999))
def test_momentum_stays_between_0_and_its_bound(momentum, factor, most):
    (times,) = times_distance([Knobs(0.1, momentum)], factor, most)
    after = 1 - (1 - momentum) * times
    assert -1e-12 <= after <= max(momentum, most) + 1e-12
    assert (times - 1) * (factor - 1) >= 0


@pytest.mark.parametrize("lr", [0.0, math.inf, math.nan, -1.0])
def test_an_lr_that_is_off_stays(lr):
    assert times_lr([Knobs(lr, None)], 4.0) == times_lr([Knobs(lr, None)], 0.25) == [1.0]


@pytest.mark.parametrize("momentum", [None, 0.0])
def test_a_momentum_that_is_off_stays(momentum):
    assert times_distance([Knobs(0.1, momentum)], 0.5) == times_distance([Knobs(0.1, momentum)], 2.0) == [1.0]


def test_groups_with_lrs_of_their_own_move_alike():
    groups = [Knobs(1.0, 0.9), Knobs(0.01, None)]
    assert adjust(times_lr(groups, 0.25), times_distance(groups, 0.5)) == Adjust((Move(0.25, 0.5), Move(0.25, 1.0)))


def test_no_move_is_no_action():
    assert adjust([1.0, 1.0], [1.0, 1.0]) is None
    assert adjust([1.0, 0.5], [1.0, 1.0]) == Adjust((Move(), Move(0.5)))
