"""Knobs: whenever a move comes, lr and momentum are ever after the schedule's own times the move."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import SWALR

from lightning_hp.babysit import knobs
from lightning_hp.babysit.actions import Knobs, Move

STEPS = 20
HALF = Move(0.5, 0.5)
SCHEDULES = {
    "StepLR": lambda o: schedulers.StepLR(o, 5, 0.7),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [4, 12, 15], 0.5),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.95),
    "LinearLR": lambda o: schedulers.LinearLR(o, 0.2, 1.0, 15),
    "ConstantLR": lambda o: schedulers.ConstantLR(o, 0.5, 10),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, 16, 2.0),
    "MultiplicativeLR": lambda o: schedulers.MultiplicativeLR(o, lambda epoch: 0.9),
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "LambdaLR that warms up from 0": lambda o: schedulers.LambdaLR(o, lambda epoch: min(1.0, epoch / 10)),
    "CosineAnnealingLR to 0": lambda o: schedulers.CosineAnnealingLR(o, 18),
    "CosineAnnealingLR down and up": lambda o: schedulers.CosineAnnealingLR(o, 6, eta_min=0.01),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.01),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 1.0, STEPS + 1),
    "OneCycleLR of three phases": lambda o: schedulers.OneCycleLR(o, [1.0, 0.4], STEPS + 1, three_phase=True),
    "OneCycleLR without momentum": lambda o: schedulers.OneCycleLR(o, 1.0, STEPS + 1, cycle_momentum=False),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=4),
    "CyclicLR of falling height": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=3, mode="triangular2"),
    "CyclicLR without momentum": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=4, cycle_momentum=False),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 6), schedulers.CosineAnnealingLR(o, 20, eta_min=0.01)], [6]
    ),
    "SequentialLR of three": lambda o: schedulers.SequentialLR(
        o, [schedulers.ConstantLR(o, 0.1, 4), schedulers.ExponentialLR(o, 0.9), schedulers.StepLR(o, 3, 0.5)], [4, 10]
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.ExponentialLR(o, 0.95), schedulers.LinearLR(o, 0.5, 1.0, 8)], optimizer=o
    ),
    "SequentialLR in a ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [
            schedulers.SequentialLR(o, [schedulers.LinearLR(o, 0.1, 1.0, 4), schedulers.StepLR(o, 5, 0.5)], [4]),
            schedulers.ExponentialLR(o, 0.97),
        ],
        optimizer=o,
    ),
    "SWALR": lambda o: SWALR(o, swa_lr=0.05, anneal_epochs=8),
    "SWALR in a line, after a ConstantLR": lambda o: schedulers.SequentialLR(
        o,
        [schedulers.ConstantLR(o, 0.5, 4), SWALR(o, swa_lr=[0.05, 0.01], anneal_epochs=6, anneal_strategy="linear")],
        [5],
    ),
    "ReduceLROnPlateau": lambda o: schedulers.ReduceLROnPlateau(o, factor=0.5, patience=2),
}
OPTIMIZERS = {
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "SGD with Nesterov": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda groups: torch.optim.Adam(groups, lr=0.1, betas=(0.9, 0.99)),
}


def two_groups():
    return [{"params": [torch.nn.Parameter(torch.ones(3))]}, {"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.03}]


def step(optimizer, scheduler):
    optimizer.step()
    if isinstance(scheduler, schedulers.ReduceLROnPlateau):
        scheduler.step(1.0)
    else:
        scheduler.step()


def course(make_optimizer, make_schedule, moves=None, stored_at=None):
    """lr and momentum of each group at each step; ``moves`` are made before the steps that are their keys."""
    optimizer = make_optimizer(two_groups())
    scheduler = make_schedule(optimizer)
    seen = []
    for at in range(STEPS):
        if moves and at in moves:
            knobs.apply(optimizer, [scheduler], moves[at])
        if at == stored_at:
            stored = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
            optimizer = make_optimizer(two_groups())
            scheduler = make_schedule(optimizer)
            optimizer.load_state_dict(stored[0])
            scheduler.load_state_dict(stored[1])
        seen.append(knobs.read(optimizer))
        step(optimizer, scheduler)
    return seen


def check(alone, moved, at, lr_factor, momentum_factor):
    """From step ``at`` on, one course is the other times the factors; before it they are the same."""
    assert moved[:at] == alone[:at]
    for before, after in zip(alone[at:], moved[at:], strict=True):
        assert [group.lr for group in after] == pytest.approx([group.lr * lr_factor for group in before], rel=1e-9, abs=1e-15)
        expected = [1 - (1 - group.momentum) * momentum_factor for group in before]
        assert [group.momentum for group in after] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_move_at_any_step_scales_all_that_follows(schedule, optimizer):
    make = OPTIMIZERS[optimizer], SCHEDULES[schedule]
    alone = course(*make)
    for at in range(STEPS):
        check(alone, course(*make, moves={at: [HALF, HALF]}), at, 0.5, 0.5)


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if "Cosine" not in name and name != "SequentialLR"])
def test_each_group_goes_its_own_way_where_no_floor_is_shared(schedule):
    make, at = (OPTIMIZERS["Adam"], SCHEDULES[schedule]), 7
    alone, moved = course(*make), course(*make, moves={at: [Move(0.5, 0.4), Move(0.25, 0.4)]})
    for before, after in zip(alone[at:], moved[at:], strict=True):
        expected = [group.lr * factor for group, factor in zip(before, (0.5, 0.25), strict=True)]
        assert [group.lr for group in after] == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_moves_add_up(schedule):
    make = OPTIMIZERS["SGD"], SCHEDULES[schedule]
    moved = course(*make, moves={3: [HALF, HALF], 4: [HALF, HALF], 11: [HALF, HALF]})
    check(course(*make), moved[:3] + course(*make)[3:], STEPS, 1, 1)
    alone = course(*make)
    check(alone[11:], moved[11:], 0, 0.125, 0.125)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_stored_and_loaded_schedule_remembers_the_move(schedule):
    make = OPTIMIZERS["SGD"], SCHEDULES[schedule]
    for at, stored_at in [(5, 5), (5, 8), (2, 13)]:
        moved = course(*make, moves={at: [HALF, HALF]}, stored_at=stored_at)
        check(course(*make), moved, at, 0.5, 0.5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_move_after_loading_reaches_the_new_groups(schedule):
    make = OPTIMIZERS["Adam"], SCHEDULES[schedule]
    optimizer = make[0](two_groups())
    scheduler = make[1](optimizer)
    alone = course(*make)
    for at in range(STEPS):
        if at == 7:
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            scheduler.load_state_dict(copy.deepcopy(scheduler.state_dict()))
            knobs.apply(optimizer, [scheduler], [HALF, HALF])
        factor = 0.5 if at >= 7 else 1.0
        expected = [group.lr * factor for group in alone[at]]
        assert [group.lr for group in knobs.read(optimizer)] == pytest.approx(expected, rel=1e-9, abs=1e-15)
        step(optimizer, scheduler)


@pytest.mark.parametrize("shared", [True, False], ids=["one tensor for all groups", "a tensor for each"])
@pytest.mark.parametrize("schedule", ["none", *SCHEDULES])
def test_lrs_that_are_tensors_are_scaled_once(schedule, shared):
    def make_optimizer(groups):
        if not shared:
            groups = [{**group, "lr": torch.tensor(lr)} for group, lr in zip(groups, (0.1, 0.03), strict=True)]
        else:
            groups = [{"params": group["params"]} for group in groups]
        return torch.optim.Adam(groups, lr=torch.tensor(0.1), betas=(0.9, 0.99), capturable=True)

    def run(moves):
        optimizer = make_optimizer(two_groups())
        scheduler = SCHEDULES[schedule](optimizer) if schedule != "none" else None
        seen = []
        for at in range(STEPS):
            if at == 7 and moves:
                tensors = [group["lr"] for group in optimizer.param_groups]
                knobs.apply(optimizer, [scheduler] if scheduler else [], moves)
                assert all(group["lr"] is lr for group, lr in zip(optimizer.param_groups, tensors, strict=True))
            seen.append([group.lr for group in knobs.read(optimizer)])
            if scheduler:
                step(optimizer, scheduler)
        return seen

    alone, moved = run(None), run([HALF, HALF])
    assert moved[:7] == alone[:7]
    for before, after in zip(alone[7:], moved[7:], strict=True):
        assert after == pytest.approx([lr * 0.5 for lr in before], rel=1e-4, abs=1e-9)


def test_groups_with_different_moves_share_the_floor_of_a_cosine_scaled_by_the_first():
    def cosine(optimizer):
        return schedulers.CosineAnnealingLR(optimizer, STEPS, eta_min=0.01)

    alone, at = course(OPTIMIZERS["SGD"], cosine), 8
    moved = course(OPTIMIZERS["SGD"], cosine, moves={at: [Move(0.5), Move(0.25)]})
    assert [groups[0].lr for groups in moved[at:]] == pytest.approx([groups[0].lr * 0.5 for groups in alone[at:]])
    floor = 0.01 * 0.5
    left = [(groups[1].lr - 0.01) / (alone[at][1].lr - 0.01) for groups in alone[at:]]
    expected = [floor + (alone[at][1].lr * 0.25 - floor) * part for part in left]
    assert [groups[1].lr for groups in moved[at:]] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_move_that_does_nothing_changes_no_bit(schedule):
    make = OPTIMIZERS["SGD"], SCHEDULES[schedule]
    assert course(*make, moves={7: [Move(), Move()]}) == course(*make)


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


def test_reduce_on_plateau_cuts_from_the_new_value_and_keeps_its_floor():
    optimizer = OPTIMIZERS["SGD"](two_groups())
    scheduler = schedulers.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, min_lr=1e-3)
    scheduler.step(1.0)
    knobs.apply(optimizer, [scheduler], [Move(0.5, 1.0)] * 2)
    scheduler.step(1.0)
    assert [group.lr for group in knobs.read(optimizer)] == pytest.approx([0.005, 0.0015])
    for _ in range(3):
        scheduler.step(1.0)
    assert [group.lr for group in knobs.read(optimizer)] == pytest.approx([1e-3, 1e-3])


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
