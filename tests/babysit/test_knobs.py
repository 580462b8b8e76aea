"""Knobs: where each optimizer keeps lr and momentum, and what a move may not do to them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit import knobs
from lightning_hp.babysit.actions import Knobs, Move
from lightning_hp.errors import ConfigError
from tests.babysit.schedules import OPTIMIZERS, SCHEDULES, course, two_groups

HALF = Move(0.5, 0.5)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.RMSprop])
def test_momentum_that_is_off_stays_off(kind):
    optimizer = kind([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    knobs.apply(optimizer, [], [Move(0.5, 1.0)])
    assert optimizer.param_groups[0]["momentum"] == 0


def test_groups_take_their_own_moves():
    optimizer = OPTIMIZERS["Adam"](two_groups())
    knobs.apply(optimizer, [], [Move(0.5, 1.0), Move(1.0, 0.5)])
    first, second = knobs.read(optimizer)
    assert (first.lr, first.momentum) == (0.05, 0.9)
    assert (second.lr, second.momentum) == (0.03, pytest.approx(0.95))


def test_a_move_for_another_number_of_groups_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        knobs.apply(OPTIMIZERS["SGD"](two_groups()), [], [HALF])


@pytest.mark.parametrize(
    ("make", "momentum"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0.0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True), 0.8),
        (lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.8), 0.8),
        (lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.99)), 0.8),
        (lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.99)), 0.8),
        (lambda p: torch.optim.NAdam(p, lr=0.1, betas=(0.8, 0.99)), 0.8),
        (lambda p: torch.optim.RAdam(p, lr=0.1, betas=(0.8, 0.99)), 0.8),
        (lambda p: torch.optim.Adamax(p, lr=0.1, betas=(0.8, 0.99)), 0.8),
        (lambda p: torch.optim.Adagrad(p, lr=0.1), None),
    ],
)
def test_momentum_is_found_where_the_optimizer_keeps_it(make, momentum):
    optimizer = make([torch.nn.Parameter(torch.ones(2))])
    assert knobs.read(optimizer) == [Knobs(0.1, momentum)]
    knobs.apply(optimizer, [], [Move(0.5, 0.5 if momentum else 1.0)])
    (moved,) = knobs.read(optimizer)
    assert moved.lr == pytest.approx(0.05)
    assert moved.momentum == (pytest.approx(0.9) if momentum else momentum)
    if "betas" in optimizer.param_groups[0]:
        assert optimizer.param_groups[0]["betas"][1] == 0.99


def test_the_peak_of_a_momentum_is_the_highest_of_its_cycle_wherever_it_stands():
    def peaks(schedule):
        optimizer = OPTIMIZERS["SGD"](two_groups())
        return [group.momentum for group in knobs.peaks(optimizer, [SCHEDULES[schedule](optimizer)])]

    assert peaks("OneCycleLR") == [0.95, 0.95]
    assert peaks("CyclicLR") == [0.9, 0.9]
    assert peaks("OneCycleLR without momentum") == peaks("SequentialLR") == [0.9, 0.9]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_momentum_that_is_lowered_stays_above_0_at_every_point_of_its_cycle(schedule):
    make = OPTIMIZERS["SGD"], SCHEDULES[schedule]
    moved = course(*make, moves={2: [Move(1.0, 50.0)] * 2, 9: [Move(1.0, 50.0)] * 2})
    assert all(group.momentum >= 0 for groups in moved for group in groups)
    # The cycle keeps its shape: its lowest point is at 0, and all else as much nearer to 1 as before.
    distances = [(1 - after[0].momentum) / (1 - before[0].momentum) for before, after in zip(course(*make), moved, strict=True)]
    assert distances[9:] == pytest.approx([distances[9]] * len(distances[9:]))
    assert 4.9 < distances[9] < 10.1


@given(st.floats(0, 0.999), st.floats(1e-3, 1e3))
def test_no_factor_takes_momentum_out_of_its_range(momentum, factor):
    for make in (lambda p: torch.optim.SGD(p, momentum=momentum), lambda p: torch.optim.Adam(p, betas=(momentum, 0.99))):
        optimizer = make([torch.nn.Parameter(torch.ones(1))])
        knobs.apply(optimizer, [], [Move(1.0, factor)])
        assert 0 <= knobs.read(optimizer)[0].momentum < 1


def test_betas_that_are_tensors_are_changed_in_their_place():
    beta1 = torch.tensor(0.9)
    optimizer = torch.optim.Adam(two_groups(), lr=torch.tensor(0.1), betas=(beta1, torch.tensor(0.99)), capturable=True)
    knobs.apply(optimizer, [], [HALF, HALF])
    assert optimizer.param_groups[0]["betas"][0] is beta1
    assert [group.momentum for group in knobs.read(optimizer)] == pytest.approx([0.95, 0.95])


@pytest.mark.parametrize("move", [Move(0.0), Move(-1.0), Move(math.nan), Move(math.inf), Move(1.0, 0.0), Move(1.0, math.nan)])
def test_a_factor_that_is_none_is_refused_before_anything_changes(move):
    optimizer = OPTIMIZERS["SGD"](two_groups())
    with pytest.raises(ConfigError, match="factors above 0 and finite"):
        knobs.apply(optimizer, [], [HALF, move])
    assert knobs.read(optimizer) == [Knobs(0.1, 0.9), Knobs(0.03, 0.9)]


def trained(make, moves):
    """The weight after each of some steps down a slope of 1, with moves of lr before the steps that are their keys."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer, seen = make([weight]), [0.0]
    for at in range(4):
        if at in moves:
            knobs.apply(optimizer, [], [Move(moves[at])])
        weight.grad = torch.ones(1)
        optimizer.step()
        seen.append(weight.item())
    return [after - before for before, after in itertools.pairwise(seen)]


def test_asgd_steps_by_a_new_lr_one_step_later_and_rprop_never():
    def asgd(weights):
        return torch.optim.ASGD(weights, lr=0.1, lambd=0.0)

    assert trained(asgd, {2: 0.5}) == pytest.approx([-0.1, -0.1, -0.1, -0.05])

    def rprop(weights):
        return torch.optim.Rprop(weights, lr=0.1)

    assert trained(rprop, {2: 0.5}) == trained(rprop, {})
    assert trained(rprop, {0: 0.5}) != trained(rprop, {})


def test_adafactor_takes_no_larger_step_than_its_own_bound():
    def adafactor(weights):
        return torch.optim.Adafactor(weights, lr=10.0)

    assert trained(adafactor, {2: 5.0}) == trained(adafactor, {})
    assert trained(adafactor, {2: 0.001}) != trained(adafactor, {})
