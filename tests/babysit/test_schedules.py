"""Knobs under every torch schedule: after a move, lr and momentum are ever after the schedule's own times the move."""

from __future__ import annotations

import copy
import inspect
import warnings

import pytest
import torch
from torch.optim import lr_scheduler as schedulers
from torch.optim import swa_utils

from lightning_hp.babysit import knobs
from lightning_hp.babysit.actions import Move
from tests.babysit.schedules import (
    OPTIMIZERS,
    SCHEDULES,
    STEPS,
    WITHOUT_MOMENTUM,
    check,
    course,
    cycles_momentum,
    step,
    two_groups,
)

HALF = Move(0.5, 0.5)
DOUBLE = Move(2.0, 1.5)
# Up and down, two of them one after the other.
MOVES = {3: Move(2.0, 0.5), 7: Move(4.0, 1.5), 8: Move(0.25, 0.25), 13: Move(0.5, 2.0)}


def classes_of(module, kind):
    named = [each for each in vars(module).values() if inspect.isclass(each) and issubclass(each, kind)]
    return {each for each in named if not each.__name__.startswith("_")} - {kind}


def inside(scheduler):
    return {type(scheduler)}.union(*map(inside, getattr(scheduler, "_schedulers", [])))


def floors(make):
    """The floors, if any, that a schedule has for all groups in common."""
    scheduler = make(OPTIMIZERS["SGD"](two_groups()))
    return [each for each in (scheduler, *getattr(scheduler, "_schedulers", [])) if getattr(each, "eta_min", 0)]


def closed_form(make):
    return hasattr(make(OPTIMIZERS["SGD"](two_groups())), "_get_closed_form_lr")


def test_every_schedule_that_torch_has_is_in_the_table():
    there = classes_of(schedulers, schedulers.LRScheduler) | classes_of(swa_utils, schedulers.LRScheduler)
    covered = {type(make(OPTIMIZERS["SGD"](two_groups()))) for make in SCHEDULES.values()}
    assert {each.__name__ for each in there - covered} == set(), "add these schedules to tests/babysit/schedules.py"


def test_every_optimizer_that_torch_has_is_in_the_table():
    covered = {type(make(two_groups())) for make in OPTIMIZERS.values()}
    uncovered = classes_of(torch.optim, torch.optim.Optimizer) - covered
    assert {each.__name__ for each in uncovered} == set(), "add these optimizers to tests/babysit/schedules.py"


def test_every_kind_of_schedule_is_met_inside_another_too():
    met = set().union(*(inside(make(OPTIMIZERS["SGD"](two_groups()))) for make in SCHEDULES.values()))
    nested = [make(OPTIMIZERS["SGD"](two_groups())) for make in SCHEDULES.values()]
    within = set().union(*(set().union(*map(inside, getattr(each, "_schedulers", []))) for each in nested))
    # Torch refuses a ReduceLROnPlateau inside another.
    assert met - within == {schedulers.ReduceLROnPlateau}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_with_every_optimizer_the_coming_values_are_the_schedules_times_all_moves_so_far(schedule):
    for optimizer, make in OPTIMIZERS.items():
        if optimizer in WITHOUT_MOMENTUM and cycles_momentum(SCHEDULES[schedule](OPTIMIZERS["SGD"](two_groups()))):
            with pytest.raises(ValueError, match="momentum"):
                SCHEDULES[schedule](make(two_groups()))
        else:
            check_moves(make, SCHEDULES[schedule])


def check_moves(*make):
    alone = course(*make)
    moved = course(*make, moves={at: [move, move] for at, move in MOVES.items()})
    lr_factor = momentum_factor = 1.0
    for begin, end in zip([0, *MOVES], [*MOVES, STEPS], strict=True):
        if begin:
            lr_factor *= MOVES[begin].lr_factor
            momentum_factor *= MOVES[begin].momentum_factor
        check(alone[begin:end], moved[begin:end], 0, lr_factor, momentum_factor)


@pytest.mark.parametrize("move", [HALF, DOUBLE], ids=["down", "up"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_move_at_any_step_scales_all_that_follows(schedule, move):
    make = OPTIMIZERS["SGD"], SCHEDULES[schedule]
    alone = course(*make)
    # Each step of the first cycles, then some.
    for at in (*range(10), 12, 15, 18):
        check(alone, course(*make, moves={at: [move, move]}), at, move.lr_factor, move.momentum_factor)


@pytest.mark.parametrize("schedule", [name for name, make in SCHEDULES.items() if not floors(make)])
def test_each_group_goes_its_own_way_where_no_floor_is_shared(schedule):
    make, at = (OPTIMIZERS["Adam"], SCHEDULES[schedule]), 7
    factors = (0.5, 0.25)
    alone, moved = course(*make), course(*make, moves={at: [Move(factors[0], 0.4), Move(factors[1], 0.8)]})
    for before, after in zip(alone[at:], moved[at:], strict=True):
        expected = [group.lr * factor for group, factor in zip(before, factors, strict=True)]
        assert [group.lr for group in after] == pytest.approx(expected, rel=1e-9, abs=1e-15)
        expected = [1 - (1 - group.momentum) * factor for group, factor in zip(before, (0.4, 0.8), strict=True)]
        assert [group.momentum for group in after] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_stored_and_loaded_schedule_remembers_the_move(schedule):
    make = OPTIMIZERS["SGD"], SCHEDULES[schedule]
    for at, stored_at in [(5, 5), (5, 8), (2, 13)]:
        moved = course(*make, moves={at: [DOUBLE, DOUBLE]}, stored_at=stored_at)
        check(course(*make), moved, at, 2.0, 1.5)


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
def test_lrs_that_are_tensors_are_scaled_once_and_in_their_place(schedule, shared):
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
            if at in moves:
                before = [group["lr"] for group in optimizer.param_groups]
                knobs.apply(optimizer, [scheduler] if scheduler else [], moves[at])
                # Older torch's ReduceLROnPlateau makes numbers of them.
                pairs = [(group["lr"], lr) for group, lr in zip(optimizer.param_groups, before, strict=True)]
                assert all(after is lr for after, lr in pairs if isinstance(lr, torch.Tensor))
            seen.append([group.lr for group in knobs.read(optimizer)])
            if scheduler:
                step(optimizer, scheduler)
        return seen

    alone, moved = run({}), run({7: [HALF, HALF], 11: [Move(8.0), Move(8.0)]})
    assert moved[:7] == alone[:7]
    for begin, end, factor in [(7, 11, 0.5), (11, STEPS, 4.0)]:
        for before, after in zip(alone[begin:end], moved[begin:end], strict=True):
            assert after == pytest.approx([lr * factor for lr in before], rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_move_that_does_nothing_changes_no_bit(schedule):
    make = OPTIMIZERS["SGD"], SCHEDULES[schedule]
    assert course(*make, moves={7: [Move(), Move()]}) == course(*make)


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "ReduceLROnPlateau"])
def test_what_a_schedule_says_of_its_last_lr_is_what_the_groups_have(schedule):
    optimizer = OPTIMIZERS["SGD"](two_groups())
    scheduler = SCHEDULES[schedule](optimizer)
    step(optimizer, scheduler)
    knobs.apply(optimizer, [scheduler], [Move(2.0), Move(0.5)])
    assert scheduler.get_last_lr() == [group.lr for group in knobs.read(optimizer)]


@pytest.mark.parametrize("schedule", [name for name, make in SCHEDULES.items() if closed_form(make)])
def test_a_schedule_that_is_sent_to_a_step_by_its_closed_form_goes_there_with_the_move(schedule):
    def sent(moves):
        optimizer = OPTIMIZERS["SGD"](two_groups())
        scheduler = SCHEDULES[schedule](optimizer)
        step(optimizer, scheduler)
        knobs.apply(optimizer, [scheduler], moves)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            scheduler.step(11)
        return [group.lr for group in knobs.read(optimizer)]

    assert sent([Move(2.0), Move(2.0)]) == pytest.approx([lr * 2 for lr in sent([Move(), Move()])])


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


def test_a_schedule_that_is_given_twice_is_changed_once():
    optimizer = OPTIMIZERS["SGD"](two_groups())
    inner = schedulers.CosineAnnealingWarmRestarts(optimizer, 3, eta_min=0.01)
    outer = schedulers.ChainedScheduler([inner], optimizer=optimizer)
    knobs.apply(optimizer, [outer, inner], [HALF, HALF])
    assert (inner.base_lrs, inner.eta_min) == ([0.05, 0.015], 0.005)


def test_a_group_that_came_after_its_schedule_leaves_the_others_their_move():
    optimizer = OPTIMIZERS["SGD"](two_groups())
    scheduler = schedulers.StepLR(optimizer, 1, 0.5)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2, 2))], "lr": 0.2})
    knobs.apply(optimizer, [scheduler], [Move(0.5), Move(0.5), Move(2.0)])
    step(optimizer, scheduler)
    assert [group.lr for group in knobs.read(optimizer)] == pytest.approx([0.025, 0.0075, 0.2])
    assert scheduler.base_lrs == [0.05, 0.015]
