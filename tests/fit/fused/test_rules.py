"""One update of all rows is, for each row, the update of torch's own optimizer."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

from lightning_hp.fit.fused.loss_scales import LossScales
from lightning_hp.fit.fused.optimizer import FusedOptimizer, mismatch
from lightning_hp.fit.fused.rules_adam import RULES
from lightning_hp.fit.fused.stack import Stack

ROWS = 3


class Model(nn.Module):
    """A matrix, a vector and a number."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 2)
        self.head = nn.Linear(2, 2, bias=False)
        self.scale = nn.Parameter(torch.randn(()))


def number(low: float, high: float):
    """A value for each row: all different, or all the same, or some of them 0."""
    some = st.floats(low, high, allow_subnormal=False)
    zeros = st.lists(st.sampled_from([0.0, high]), min_size=ROWS, max_size=ROWS) if low == 0 else st.nothing()
    return st.lists(some, min_size=ROWS, max_size=ROWS) | some.map(lambda value: [value] * ROWS) | zeros


def switch():
    return st.booleans().map(lambda value: [value] * ROWS)


def pairs():
    return st.tuples(number(0, 0.95), number(0.5, 0.9999)).map(lambda both: list(zip(*both, strict=True)))


LR, DECAY = number(1e-3, 0.5), number(0, 0.3)
EPS = number(1e-9, 1e-3)
ADAM = {"lr": LR, "betas": pairs(), "eps": EPS, "weight_decay": DECAY}
OPTIONS = {
    optim.SGD: {
        "lr": LR,
        "momentum": number(0, 0.99),
        "dampening": number(0, 0.9),
        "weight_decay": DECAY,
        "maximize": switch(),
    },
    optim.RMSprop: {
        "lr": LR,
        "alpha": number(0.5, 0.99),
        "eps": EPS,
        "momentum": number(0, 0.9),
        "centered": switch(),
        "weight_decay": DECAY,
        "maximize": switch(),
    },
    optim.Adam: {**ADAM, "amsgrad": switch(), "maximize": switch()},
    optim.AdamW: {**ADAM, "amsgrad": switch(), "maximize": switch()},
    optim.NAdam: {**ADAM, "momentum_decay": number(0, 0.1), "decoupled_weight_decay": switch()},
    optim.RAdam: {**ADAM, "decoupled_weight_decay": switch()},
    optim.Adamax: ADAM,
    optim.Adagrad: {
        "lr": LR,
        "lr_decay": number(0, 1),
        "weight_decay": DECAY,
        "initial_accumulator_value": number(0, 1),
        "eps": EPS,
        "maximize": switch(),
    },
    optim.Adadelta: {"lr": LR, "rho": number(0.5, 0.99), "eps": EPS, "weight_decay": DECAY, "maximize": switch()},
}


def options(kind):
    """For each row the arguments of an optimizer."""
    columns = st.fixed_dictionaries(OPTIONS[kind])
    return columns.map(lambda names: [{name: values[row] for name, values in names.items()} for row in range(ROWS)])


class Both:
    """Three models stepped by a FusedOptimizer, and their copies, each by an optimizer of its own.

    With a ``scaler`` for each, by its row, gradients are scaled, and may overflow.
    """

    def __init__(self, make, seed=0, scaler=None):
        torch.manual_seed(seed)
        models = [Model() for _ in range(ROWS)]
        self.own = [copy.deepcopy(model) for model in models]
        self.theirs = [make(row, model) for row, model in enumerate(self.own)]
        self.ours = [make(row, model) for row, model in enumerate(models)]
        assert mismatch(self.ours, models) is None
        self.stack = Stack(models)
        self.scalers, scalers = ([scaler(row) if scaler else None for row in range(ROWS)] for _ in range(2))
        self.fused = FusedOptimizer(self.stack, self.ours, LossScales(scalers) if scaler else None)

    def step(self, without=(), overflowing=()):
        for name, parameter in self.stack.parameters.items():
            gradients = torch.randn_like(parameter)
            for row, scaler in enumerate(self.scalers):
                gradients[row] *= scaler.get_scale() if scaler else 1
                if row in overflowing:
                    gradients[row].view(-1)[-1] = overflowing[row]
            for row, model in enumerate(self.own):
                model.get_parameter(name).grad = None if name in without else gradients[row].clone()
            parameter.grad = None if name in without else gradients
        self.fused.unscale()
        self.fused.step()
        for optimizer, scaler in zip(self.theirs, self.scalers, strict=True):
            if scaler is None:
                optimizer.step()
            else:
                scaler.scale(torch.ones(()))
                scaler.unscale_(optimizer)
                scaler.step(optimizer)
                scaler.update()

    def change(self, key, factor):
        for optimizer in (*self.ours, *self.theirs):
            for group in optimizer.param_groups:
                value = group[key]
                if isinstance(value, torch.Tensor):
                    value.mul_(factor)
                else:
                    group[key] = tuple(each * factor for each in value) if isinstance(value, tuple) else value * factor

    def keep(self, rows):
        self.stack.keep(rows)
        self.fused.keep(rows)
        self.own, self.theirs = [self.own[row] for row in rows], [self.theirs[row] for row in rows]
        self.scalers = [self.scalers[row] for row in rows]

    def assert_same(self):
        self.fused.distribute()
        for model, own, ours, theirs in zip(self.stack.models, self.own, self.fused.optimizers, self.theirs, strict=True):
            assert_close(dict(model.named_parameters()), dict(own.named_parameters()))
            assert_same_state(ours.state_dict(), theirs.state_dict())
            # A fit that goes on by itself takes it.
            fresh = type(ours)([{"params": group["params"]} for group in theirs.param_groups], lr=0.1)
            fresh.load_state_dict(ours.state_dict())
            assert_same_state(fresh.state_dict(), theirs.state_dict())


def assert_same_state(ours, theirs):
    assert ours["state"].keys() == theirs["state"].keys()
    for index, state in theirs["state"].items():
        state = {key: value for key, value in state.items() if value is not None}
        assert ours["state"][index].keys() == state.keys()
        assert_close(ours["state"][index], state)


def assert_close(ours, theirs):
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-5, equal_nan=True, msg=lambda text: f"{name}: {text}")  # noqa: B023


@pytest.mark.parametrize("kind", RULES)
def test_every_rule_is_tested(kind):
    assert kind in OPTIONS


@pytest.mark.parametrize("kind", OPTIONS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_steps_are_those_of_each_rows_own_optimizer(kind, data):
    rows = data.draw(options(kind))
    without = data.draw(st.lists(st.sampled_from([(), ("head.weight",), ("scale", "body.bias")]), min_size=4, max_size=4))
    if kind is optim.RAdam:
        # It begins to adapt its rates only then.
        without = [*without, *[()] * 5]
    both = Both(lambda row, model: kind(model.parameters(), **rows[row]))
    assert both.fused.vectorized
    for absent in without:
        both.step(absent)
    both.assert_same()


@pytest.mark.parametrize("kind", OPTIONS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_groups_changes_and_departures(kind, data):
    rows = data.draw(options(kind))
    others = data.draw(options(kind))
    kept = data.draw(st.sampled_from([[0, 1, 2], [2, 0], [1]]))
    keys = [key for key in ("lr", "weight_decay", "momentum", "betas", "alpha") if key in rows[0]]
    key = data.draw(st.sampled_from(keys))

    def make(row, model):
        head = {name: others[row][name] for name in ("lr", "weight_decay", "eps") if name in rows[row]}
        groups = [{"params": model.body.parameters()}, {"params": [model.scale, *model.head.parameters()], **head}]
        return kind(groups, **rows[row])

    both = Both(make)
    both.step()
    both.change(key, data.draw(st.sampled_from([0.5, 0.9])))
    both.step()
    both.keep(kept)
    both.assert_same()
    both.step()
    both.step()
    both.assert_same()


@settings(max_examples=100, deadline=None)
@given(momenta=st.lists(st.lists(st.sampled_from([0.0, 0.5, 0.9]), min_size=ROWS, max_size=ROWS), min_size=5, max_size=5))
def test_momentum_that_is_turned_on_and_off(momenta):
    both = Both(lambda row, model: optim.SGD(model.parameters(), 0.1, momentum=momenta[0][row], dampening=0.3))
    for now in momenta:
        for optimizers in (both.ours, both.theirs):
            for optimizer, momentum in zip(optimizers, now, strict=True):
                optimizer.param_groups[0]["momentum"] = momentum
        both.step()
    both.assert_same()


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_nesterov(momentum):
    both = Both(lambda row, model: optim.SGD(model.parameters(), 0.1, momentum=momentum / (row + 1), nesterov=True))
    for _ in range(4):
        both.step()
    both.assert_same()


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_rate_that_is_a_tensor(kind):
    both = Both(lambda row, model: kind(model.parameters(), lr=torch.tensor(0.1 * (row + 1))))
    both.step()
    both.change("lr", 0.5)
    both.step()
    both.assert_same()


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_fit_goes_on_from_the_optimizers_own_states(kind):
    momentum = {"momentum": 0.9} if kind in (optim.SGD, optim.RMSprop) else {}

    def make(row, model):
        # Without momentum there is nothing in the state of SGD.
        return kind(model.parameters(), lr=0.1 * (row + 1), **(momentum if row else {}))

    both = Both(make)
    for _ in range(2):
        both.step()
    both.fused.distribute()
    again = [make(row, model) for row, model in enumerate(both.stack.models)]
    for optimizer, old in zip(again, both.ours, strict=True):
        optimizer.load_state_dict(copy.deepcopy(old.state_dict()))
    both.ours, both.fused = again, FusedOptimizer(both.stack, again)
    for _ in range(2):
        both.step()
    both.assert_same()


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_fit_goes_on_from_states_of_different_ages(kind):
    momentum = {"momentum": 0.9} if kind in (optim.SGD, optim.RMSprop) else {}

    def make(row, model):
        return kind(model.parameters(), lr=0.1 * (row + 1), **momentum)

    both = Both(make)
    # The first is new, the others have made one step and two.
    for row, theirs in enumerate(both.theirs):
        for _ in range(row):
            for parameter in both.own[row].parameters():
                parameter.grad = torch.randn_like(parameter)
            theirs.step()
        both.ours[row].load_state_dict(copy.deepcopy(theirs.state_dict()))
        both.stack.models[row].load_state_dict(both.own[row].state_dict())
    both.fused = FusedOptimizer(both.stack, both.ours)
    for _ in range(6):
        both.step()
    both.assert_same()


def test_half_precision():
    both = Both(lambda row, model: optim.Adam(model.bfloat16().parameters(), lr=0.01 * (row + 1)))
    for _ in range(3):
        both.step()
    for model, own in zip(both.stack.models, both.own, strict=True):
        for ours, theirs in zip(model.parameters(), own.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("kind", [optim.Rprop, optim.ASGD])
def test_an_optimizer_without_a_rule_steps_by_itself(kind):
    both = Both(lambda row, model: kind(model.parameters(), lr=0.1 * (row + 1)))
    assert not both.fused.vectorized
    both.step()
    both.step(without=("scale",))
    both.keep([2, 1])
    both.step()
    both.assert_same()


def test_an_optimizer_with_hooks_of_its_own_steps_by_itself():
    called = []

    def make(row, model):
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        optimizer.register_step_post_hook(lambda *_: called.append(row))
        return optimizer

    both = Both(make)
    both.step()
    both.assert_same()
    # Both the fused and the others.
    assert sorted(called) == [0, 0, 1, 1, 2, 2]


def test_one_rows_infinite_gradient_is_its_own():
    both = Both(lambda row, model: optim.Adam(model.parameters(), lr=0.1 * (row + 1)))
    for parameter in both.stack.parameters.values():
        parameter.grad = torch.ones_like(parameter)
        parameter.grad[1] = math.inf
    both.fused.step()
    for row, finite in enumerate([True, False, True]):
        assert all(parameter.isfinite().all() for parameter in both.stack.models[row].parameters()) == finite


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda row, model: (optim.SGD, optim.Adam)[row % 2](model.parameters(), lr=0.1),
            "optimizers of different classes, SGD and Adam",
        ),
        (lambda row, model: optim.SGD(list(model.parameters())[row % 2 :], lr=0.1), "parameter groups of different make-up"),
        (lambda row, model: optim.SGD(model.parameters(), lr=0.1, maximize=row == 1), "different maximize of the optimizers"),
        (
            lambda row, model: optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1),
            "an optimizer of parameters that are not the module's",
        ),
    ],
    ids=["classes", "groups", "switches", "others' parameters"],
)
def test_optimizers_that_cannot_step_together(make, reason):
    models = [Model() for _ in range(ROWS)]
    assert mismatch([make(row, model) for row, model in enumerate(models)], models) == reason
