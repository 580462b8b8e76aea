"""Every torch schedule and optimizer, and the course that lr and momentum take under them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import SWALR

from lightning_hp.babysit import knobs

STEPS = 20
# Those without momentum to cycle are refused by torch with most optimizers that have none.
SCHEDULES = {
    "StepLR": lambda o: schedulers.StepLR(o, 5, 0.7),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [4, 12, 15], 0.5),
    "MultiStepLR twice at one step": lambda o: schedulers.MultiStepLR(o, [4, 4, 9], 0.5),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.95),
    "LinearLR": lambda o: schedulers.LinearLR(o, 0.2, 1.0, 15),
    "LinearLR to 0": lambda o: schedulers.LinearLR(o, 1.0, 0.0, 12),
    "ConstantLR": lambda o: schedulers.ConstantLR(o, 0.5, 10),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, 16, 2.0),
    "MultiplicativeLR": lambda o: schedulers.MultiplicativeLR(o, lambda epoch: 0.9),
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "LambdaLR that warms up from 0": lambda o: schedulers.LambdaLR(o, lambda epoch: min(1.0, epoch / 10)),
    "CosineAnnealingLR to 0": lambda o: schedulers.CosineAnnealingLR(o, 18),
    "CosineAnnealingLR down and up": lambda o: schedulers.CosineAnnealingLR(o, 6, eta_min=0.01),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.01),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 1.0, STEPS + 1),
    "OneCycleLR of straight lines": lambda o: schedulers.OneCycleLR(o, 1.0, STEPS + 1, anneal_strategy="linear"),
    "OneCycleLR of three phases": lambda o: schedulers.OneCycleLR(o, per_group(o, 1.0, 0.4), STEPS + 1, three_phase=True),
    "OneCycleLR without momentum": lambda o: schedulers.OneCycleLR(o, 1.0, STEPS + 1, cycle_momentum=False),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=4),
    "CyclicLR of falling height": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=3, mode="triangular2"),
    "CyclicLR that decays": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, 3, 2, mode="exp_range", gamma=0.9),
    "CyclicLR of an own scale": lambda o: schedulers.CyclicLR(
        o, 0.01, per_group(o, 0.1, 0.4), 3, scale_fn=lambda x: 0.8**x, scale_mode="iterations"
    ),
    "CyclicLR without momentum": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=4, cycle_momentum=False),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 6), schedulers.CosineAnnealingLR(o, 20, eta_min=0.01)], [6]
    ),
    "SequentialLR of three": lambda o: schedulers.SequentialLR(
        o, [schedulers.ConstantLR(o, 0.1, 4), schedulers.ExponentialLR(o, 0.9), schedulers.StepLR(o, 3, 0.5)], [4, 10]
    ),
    "SequentialLR of functions": lambda o: schedulers.SequentialLR(
        o,
        [
            schedulers.LambdaLR(o, lambda epoch: (1 + epoch) / 5),
            schedulers.MultiplicativeLR(o, lambda epoch: 0.9),
            schedulers.CosineAnnealingWarmRestarts(o, 4, eta_min=0.01),
        ],
        [5, 9],
    ),
    "SequentialLR of cycles": lambda o: schedulers.SequentialLR(
        o, [schedulers.OneCycleLR(o, 1.0, STEPS), schedulers.CyclicLR(o, 0.01, 0.1, 3)], [8]
    ),
    "SequentialLR in a SequentialLR": lambda o: schedulers.SequentialLR(
        o,
        [
            schedulers.SequentialLR(o, [schedulers.LinearLR(o, 0.1, 1.0, 3), schedulers.ExponentialLR(o, 0.9)], [3]),
            schedulers.PolynomialLR(o, 15),
        ],
        [9],
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.ExponentialLR(o, 0.95), schedulers.LinearLR(o, 0.5, 1.0, 8)], optimizer=o
    ),
    "ChainedScheduler of a warm-up and a cosine": lambda o: schedulers.ChainedScheduler(
        [schedulers.LinearLR(o, 0.1, 1.0, 5), schedulers.CosineAnnealingLR(o, 15, eta_min=0.01)], optimizer=o
    ),
    "ChainedScheduler in a ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [
            schedulers.ChainedScheduler([schedulers.LinearLR(o, 0.1, 1.0, 3), schedulers.ExponentialLR(o, 0.9)], optimizer=o),
            schedulers.MultiStepLR(o, [6, 12], 0.5),
        ],
        optimizer=o,
    ),
    "ChainedScheduler in a SequentialLR": lambda o: schedulers.SequentialLR(
        o,
        [
            schedulers.ChainedScheduler([schedulers.LinearLR(o, 0.1, 1.0, 3), schedulers.ExponentialLR(o, 0.9)], optimizer=o),
            schedulers.StepLR(o, 3, 0.5),
        ],
        [9],
    ),
    "SequentialLR in a ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [
            schedulers.SequentialLR(o, [schedulers.LinearLR(o, 0.1, 1.0, 4), schedulers.StepLR(o, 5, 0.5)], [4]),
            schedulers.ExponentialLR(o, 0.97),
        ],
        optimizer=o,
    ),
    "SWALR": lambda o: SWALR(o, swa_lr=0.05, anneal_epochs=8),
    "SWALR at once": lambda o: SWALR(o, swa_lr=0.05, anneal_epochs=0),
    "SWALR in a line, after a ConstantLR": lambda o: schedulers.SequentialLR(
        o,
        [
            schedulers.ConstantLR(o, 0.5, 4),
            SWALR(o, swa_lr=per_group(o, 0.05, 0.01), anneal_epochs=6, anneal_strategy="linear"),
        ],
        [5],
    ),
    "ReduceLROnPlateau": lambda o: schedulers.ReduceLROnPlateau(o, factor=0.5, patience=2),
}
OPTIMIZERS = {
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "SGD with Nesterov": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda groups: torch.optim.RMSprop(groups, lr=0.1, momentum=0.9),
    "Muon": lambda groups: torch.optim.Muon(groups, lr=0.1, momentum=0.9),
    "Adam": lambda groups: torch.optim.Adam(groups, lr=0.1, betas=(0.9, 0.99)),
    "AdamW": lambda groups: torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.99)),
    "NAdam": lambda groups: torch.optim.NAdam(groups, lr=0.1, betas=(0.9, 0.99)),
    "RAdam": lambda groups: torch.optim.RAdam(groups, lr=0.1, betas=(0.9, 0.99)),
    "Adamax": lambda groups: torch.optim.Adamax(groups, lr=0.1, betas=(0.9, 0.99)),
    "SparseAdam": lambda groups: torch.optim.SparseAdam(groups, lr=0.1, betas=(0.9, 0.99)),
    "Adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.1),
    "Adadelta": lambda groups: torch.optim.Adadelta(groups, lr=0.1),
    "Adafactor": lambda groups: torch.optim.Adafactor(groups, lr=0.1),
    "ASGD": lambda groups: torch.optim.ASGD(groups, lr=0.1),
    "Rprop": lambda groups: torch.optim.Rprop(groups, lr=0.1),
    # Torch's LBFGS takes one group.
    "LBFGS": lambda groups: torch.optim.LBFGS(groups[0]["params"], lr=0.1),
}
# In torch since 2.9.
if not hasattr(torch.optim, "Muon"):
    del OPTIMIZERS["Muon"]
WITHOUT_MOMENTUM = ["Adagrad", "Adadelta", "Adafactor", "ASGD", "Rprop", "LBFGS"]


def per_group(optimizer, first, second):
    return [first, second][: len(optimizer.param_groups)]


def cycles_momentum(schedule):
    """Whether a schedule, or one inside it, asks for an optimizer that has momentum."""
    inside = [schedule, *getattr(schedule, "_schedulers", [])]
    return any(getattr(each, "cycle_momentum", False) for each in inside)


def two_groups():
    return [{"params": [torch.nn.Parameter(torch.ones(3, 3))]}, {"params": [torch.nn.Parameter(torch.ones(2, 2))], "lr": 0.03}]


def step(optimizer, scheduler):
    optimizer.step(lambda: torch.tensor(0.0))
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
            knobs.apply(optimizer, [scheduler], moves[at][: len(optimizer.param_groups)])
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
        expected = [_nearer_one(group.momentum, momentum_factor) for group in before]
        assert [_or_nan(group.momentum) for group in after] == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


def _nearer_one(momentum, factor):
    return math.nan if momentum is None else 1 - (1 - momentum) * factor


def _or_nan(momentum):
    return math.nan if momentum is None else momentum
