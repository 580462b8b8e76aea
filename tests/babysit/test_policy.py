"""The policy: lr by a factor, momentum by its distance to 1; on real optimizers, bounds are reached, held and not crossed."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lightning_hp.babysit import knobs
from lightning_hp.babysit.policy import Knobs, Move, Reduce

POLICIES = st.builds(
    Reduce,
    factor=st.floats(0.01, 0.95),
    min_lr=st.just(0.0) | st.floats(1e-8, 1.0),
    momentum_factor=st.floats(0.01, 0.95) | st.just(1.0),
    max_momentum=st.floats(0, 0.99999),
)
LRS = st.floats(1e-8, 10)
MOMENTA = st.just(0.0) | st.floats(1e-3, 0.99999)
# What rounding may add: bounds are products and quotients of the values.
ULPS = 1e-12


def optimizer_with(lr, momentum):
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=lr, momentum=momentum)


def course(policy, optimizer, interventions=40):
    """Where the knobs stand before and after each intervention that the policy asks for."""
    seen = [knobs.read(optimizer)[0]]
    for _ in range(interventions):
        moves = policy.moves(knobs.read(optimizer))
        if moves[0].nothing:
            break
        knobs.apply(optimizer, [], moves)
        seen.append(knobs.read(optimizer)[0])
    return seen


@given(policy=POLICIES, lr=LRS, momentum=MOMENTA)
def test_no_number_of_moves_crosses_a_bound(policy, lr, momentum):
    for at in course(policy, optimizer_with(lr, momentum)):
        assert at.lr >= min(lr, policy.min_lr) * (1 - ULPS)
        assert at.lr <= lr
        assert at.momentum <= max(momentum, policy.max_momentum) + ULPS
        assert at.momentum >= momentum - ULPS


@given(policy=POLICIES, lr=LRS, momentum=MOMENTA)
@example(policy=Reduce(0.9, 0.11635930713837558, 1.0, 0.99), lr=0.95, momentum=0.0)
@example(policy=Reduce(0.5, 0.02, 0.5, 0.962141540530391), lr=0.34, momentum=0.770281517667784)
def test_each_move_moves_something(policy, lr, momentum):
    seen = course(policy, optimizer_with(lr, momentum))
    for before, after in itertools.pairwise(seen):
        lowered = after.lr < before.lr * (1 - ULPS)
        raised = 1 - after.momentum < (1 - before.momentum) * (1 - ULPS)
        assert lowered or raised


@given(lr=st.floats(1e-4, 1.0), min_lr=st.floats(1e-4, 1.0))
@example(lr=0.4, min_lr=0.1)
def test_a_tensor_lr_comes_to_rest_at_its_bound(lr, min_lr):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(lr))
    policy = Reduce(factor=0.5, min_lr=min_lr, momentum_factor=1.0, max_momentum=0.99)
    needed = max(0, math.ceil(math.log2(lr / min_lr) + 1e-6))
    assert len(course(policy, optimizer)) - 1 <= needed
    assert knobs.read(optimizer)[0].lr >= min(lr, min_lr) * (1 - 1e-6)


def test_an_lr_near_its_bound_ends_on_the_bound():
    seen = course(Reduce(0.5, 0.03, 1.0, 0.99), optimizer_with(0.1, 0.9))
    assert [at.lr for at in seen] == pytest.approx([0.1, 0.05, 0.03])


def test_momentum_takes_equal_steps_on_the_reverse_log_scale_up_to_its_bound():
    seen = course(Reduce(0.5, 0.1, 0.5, 0.98), optimizer_with(0.1, 0.9))
    assert [at.momentum for at in seen] == pytest.approx([0.9, 0.95, 0.975, 0.98])
    assert {at.lr for at in seen} == {0.1}


@pytest.mark.parametrize(
    ("lr", "momentum", "move"),
    [
        (0.05, 0.9, Move(1.0, 0.5)),
        (0.1, 0.9, Move(1.0, 0.5)),
        (0.2, 0.99, Move(0.5, 1.0)),
        (0.2, 0.999, Move(0.5, 1.0)),
        (0.05, 0.999, Move(1.0, 1.0)),
        (0.2, 0.0, Move(0.5, 1.0)),
        (0.2, None, Move(0.5, 1.0)),
        (0.2, 1e-3, Move(0.5, 0.5)),
        (0.0, 0.9, Move()),
        (math.inf, 0.9, Move()),
        (math.nan, 0.9, Move()),
        (1e300, 0.9, Move(0.5, 0.5)),
        (5e-324, 0.9, Move(1.0, 0.5)),
    ],
)
def test_a_knob_at_or_past_its_bound_stays_and_the_other_moves(lr, momentum, move):
    policy = Reduce(factor=0.5, min_lr=0.1, momentum_factor=0.5, max_momentum=0.99)
    assert policy.moves([Knobs(lr, momentum)]) == [move]


def test_every_group_gets_its_own_move():
    moves = Reduce(0.5, 0.1, 0.5, 0.99).moves([Knobs(1.0, 0.9), Knobs(0.1, None), Knobs(0.0, 0.9)])
    assert moves == [Move(0.5, 0.5), Move(), Move()]
    assert [move.nothing for move in moves] == [False, True, True]


def test_no_groups_are_no_moves():
    assert Reduce(0.5, 0.1, 0.5, 0.99).moves([]) == []


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "momentum"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "momentum"),
        (lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9), "momentum"),
        (lambda p: torch.optim.Adam(p, lr=0.1), "betas"),
        (lambda p: torch.optim.AdamW(p, lr=0.1), "betas"),
        (lambda p: torch.optim.NAdam(p, lr=0.1), "betas"),
        (lambda p: torch.optim.RAdam(p, lr=0.1), "betas"),
        (lambda p: torch.optim.Adamax(p, lr=0.1), "betas"),
        (lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1), betas=(torch.tensor(0.9), torch.tensor(0.99))), "betas"),
        (lambda p: torch.optim.Adagrad(p, lr=0.1), None),
        (lambda p: torch.optim.Adadelta(p, lr=0.1), None),
    ],
)
def test_every_optimizer_trains_on_after_three_moves(make, where):
    torch.manual_seed(0)
    weights = torch.nn.Parameter(torch.randn(8))
    optimizer = make([weights])
    policy = Reduce(factor=0.5, min_lr=0.0, momentum_factor=0.5, max_momentum=0.99)
    for intervention in range(4):
        if intervention:
            knobs.apply(optimizer, [], policy.moves(knobs.read(optimizer)))
        for _ in range(20):
            before = float(weights.detach().square().sum())
            optimizer.zero_grad()
            weights.square().sum().backward()
            optimizer.step()
        assert float(weights.detach().square().sum()) != before
    (at,) = knobs.read(optimizer)
    assert at.lr == pytest.approx(0.1 / 8)
    assert at.momentum == (None if where is None else pytest.approx(0.9875))
    assert torch.isfinite(weights).all()
