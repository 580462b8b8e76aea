"""The policy: lr by a factor, momentum by its distance to 1, never past the bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.policy import Knobs, Move, Reduce

HALVE = Reduce(factor=0.5, min_lr=0.0, momentum_factor=0.5, max_momentum=0.99)


def after(policy, knobs):
    (move,) = policy.moves([knobs])
    momentum = None if knobs.momentum is None else 1 - (1 - knobs.momentum) * move.momentum_factor
    return Knobs(knobs.lr * move.lr_factor, momentum)


def test_momentum_goes_up_one_step_of_the_reverse_log_scale_at_a_time():
    knobs, seen = Knobs(1.0, 0.9), []
    for _ in range(5):
        knobs = after(HALVE, knobs)
        seen.append(knobs.momentum)
    assert seen == pytest.approx([0.95, 0.975, 0.9875, 0.99, 0.99])
    assert knobs.lr == pytest.approx(1 / 32)


@pytest.mark.parametrize("momentum", [None, 0.0, 0.99, 0.995])
def test_momentum_that_is_none_off_or_at_its_bound_is_left_alone(momentum):
    assert HALVE.moves([Knobs(0.1, momentum)]) == [Move(0.5, 1.0)]


def test_at_both_bounds_nothing_moves():
    (move,) = replace(HALVE, min_lr=0.1).moves([Knobs(0.1, 0.99)])
    assert move.nothing


def test_every_group_gets_its_own_move():
    moves = replace(HALVE, min_lr=0.1).moves([Knobs(1.0, 0.9), Knobs(0.1, None)])
    assert moves == [Move(0.5, 0.5), Move(1.0, 1.0)]


@given(
    policy=st.builds(
        Reduce,
        factor=st.floats(0.01, 0.99),
        min_lr=st.floats(0, 1),
        momentum_factor=st.floats(0.01, 1),
        max_momentum=st.floats(0, 0.9999),
    ),
    knobs=st.builds(Knobs, lr=st.floats(0, 10), momentum=st.none() | st.floats(0, 0.99999)),
)
def test_no_move_passes_a_bound_or_goes_the_wrong_way(policy, knobs):
    moved = after(policy, knobs)
    assert min(knobs.lr, policy.min_lr) * (1 - 1e-12) <= moved.lr <= knobs.lr
    if knobs.momentum is not None:
        assert knobs.momentum - 1e-12 <= moved.momentum <= max(knobs.momentum, policy.max_momentum) + 1e-12
