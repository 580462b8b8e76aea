"""Knobs: after a move, optimizers and torch's schedules go on from the new values."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from lightning_hp.babysit import knobs
from lightning_hp.babysit.policy import Knobs, Move

STEPS, AT = 24, 7
SCHEDULES = {
    "StepLR": lambda o: schedulers.StepLR(o, 5, 0.7),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [4, 12, 15], 0.5),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.95),
    "LinearLR": lambda o: schedulers.LinearLR(o, 0.2, 1.0, 15),
    "ConstantLR": lambda o: schedulers.ConstantLR(o, 0.5, 10),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, 30, 2.0),
    "MultiplicativeLR": lambda o: schedulers.MultiplicativeLR(o, lambda epoch: 0.9),
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 30, eta_min=0.01),
    "CosineAnnealingLR past its end": lambda o: schedulers.CosineAnnealingLR(o, 10, eta_min=0.01),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 5, eta_min=0.01),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 1.0, STEPS + 2),
    "OneCycleLR without momentum": lambda o: schedulers.OneCycleLR(o, 1.0, STEPS + 2, cycle_momentum=False),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=4, cycle_momentum="betas" not in o.defaults),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 4), schedulers.CosineAnnealingLR(o, 20)], [4]
    ),
    "SequentialLR to come": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 10), schedulers.StepLR(o, 5, 0.5)], [10]
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.ExponentialLR(o, 0.95), schedulers.LinearLR(o, 0.5, 1.0, 8)], optimizer=o
    ),
}
OPTIMIZERS = {
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "AdamW": lambda groups: torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.999)),
}


def parameters():
    torch.manual_seed(0)
    return [{"params": [torch.nn.Parameter(torch.randn(3))]}, {"params": [torch.nn.Parameter(torch.randn(2))], "lr": 0.03}]


def course(make_optimizer, make_schedule, moves=None):
    """lr and momentum of each group at each step of a schedule, with moves made before step `AT`."""
    optimizer = make_optimizer(parameters())
    scheduler = make_schedule(optimizer)
    seen = []
    for step in range(STEPS):
        if step == AT and moves:
            knobs.apply(optimizer, [scheduler], moves)
        seen.append(knobs.read(optimizer))
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_goes_on_as_it_would_times_the_move(schedule, optimizer):
    make = OPTIMIZERS[optimizer], SCHEDULES[schedule]
    # Cosine schedules have one eta_min for all groups, so only there both move alike.
    factors = (0.5, 0.5) if schedule.startswith("Cosine") else (0.5, 0.25)
    alone, moved = course(*make), course(*make, moves=[Move(factor, 0.4) for factor in factors])
    assert moved[:AT] == alone[:AT]
    for before, after in zip(alone[AT:], moved[AT:], strict=True):
        expected = [group.lr * factor for group, factor in zip(before, factors, strict=True)]
        assert [group.lr for group in after] == pytest.approx(expected, rel=1e-9)
        assert [1 - group.momentum for group in after] == pytest.approx([(1 - group.momentum) * 0.4 for group in before])


def test_reduce_on_plateau_cuts_from_the_new_value_and_keeps_its_floor():
    optimizer = OPTIMIZERS["SGD"](parameters())
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


def test_a_tensor_lr_is_changed_in_place():
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(0.1))
    tensor = optimizer.param_groups[0]["lr"]
    knobs.apply(optimizer, [], [Move(0.5, 0.5)])
    assert optimizer.param_groups[0]["lr"] is tensor
    assert float(tensor) == pytest.approx(0.05)


def test_a_move_reaches_the_groups_that_a_loaded_state_put_in_place():
    optimizer = OPTIMIZERS["SGD"](parameters())
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    knobs.apply(optimizer, [], [Move(0.5, 0.5), Move(0.5, 0.5)])
    assert knobs.read(optimizer) == [Knobs(0.05, pytest.approx(0.95)), Knobs(0.015, pytest.approx(0.95))]
