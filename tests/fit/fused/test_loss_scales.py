"""Each trial of a fused fit in float16 has the loss scale that it would have by itself: what overflows in one is its own."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import optim
from torch.amp import GradScaler

from lightning_hp.fit.fused.loss_scales import LossScales
from tests.fit.fused.test_rules import OPTIONS, ROWS, Both, options

# Which rows overflow in a step, and by what.
OVERFLOWING = st.dictionaries(st.integers(0, ROWS - 1), st.sampled_from([math.inf, -math.inf, math.nan]))


def scaler(row=0, **changes):
    return GradScaler("cpu", **{"init_scale": 2.0 ** (4 + row), "growth_interval": 2 + row, **changes})


def assert_same_scales(both):
    ours = [each.state_dict() for each in both.fused.scales._scalers]
    assert ours == [each.state_dict() for each in both.scalers]
    assert both.fused.scales.values.tolist() == [each["scale"] for each in ours]


@pytest.mark.parametrize("kind", [*OPTIONS, optim.Rprop])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_rows_that_overflow_make_no_step_and_the_others_do(kind, data):
    rows = data.draw(options(kind)) if kind in OPTIONS else [{"lr": 0.1}] * ROWS
    both = Both(lambda row, model: kind(model.parameters(), **rows[row]), scaler=scaler)
    steps = data.draw(st.lists(OVERFLOWING, min_size=4, max_size=6))
    for overflowing in steps:
        both.step(overflowing=overflowing)
    both.assert_same()
    assert_same_scales(both)
    both.keep([2, 0])
    both.step(overflowing={0: math.inf})
    both.step()
    both.assert_same()
    assert_same_scales(both)


def test_a_row_that_overflows_stays_as_it_is_bit_for_bit():
    both = Both(lambda row, model: optim.AdamW(model.parameters(), 0.1, weight_decay=0.1), scaler=scaler)
    both.step()
    both.fused.distribute()
    model, optimizer = both.stack.models[1], both.fused.optimizers[1]
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))
    for _ in range(3):
        both.step(overflowing={1: math.nan})
    both.fused.distribute()
    after = model.state_dict(), optimizer.state_dict()["state"]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    both.step()
    both.fused.distribute()
    assert [int(each.state_dict()["state"][0]["step"]) for each in both.fused.optimizers] == [5, 2, 5]


def test_rows_that_have_made_equally_many_steps_are_counted_as_one():
    both = Both(lambda row, model: optim.Adam(model.parameters(), 0.1), scaler=scaler)
    both.step(overflowing=dict.fromkeys(range(ROWS), math.inf))
    both.step()
    assert set(both.fused.steps.values()) == {1}
    both.step(overflowing={1: math.inf})
    assert [steps.tolist() for steps in both.fused.steps.values()] == [[2, 1, 2]] * 4
    both.keep([0, 2])
    assert set(both.fused.steps.values()) == {2}


def test_momentum_costs_no_more_once_all_rows_have_begun():
    both = Both(lambda row, model: optim.SGD(model.parameters(), 0.1, momentum=0.9), scaler=scaler)
    both.step(overflowing={1: math.inf})
    assert all("begun" in state for state in both.fused.states.values())
    both.step()
    assert not any("begun" in state for state in both.fused.states.values())
    both.step()
    both.assert_same()


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "init_scale": st.floats(2.0**-10, 2.0**127, width=32),
                "growth_factor": st.floats(1.01, 8),
                "backoff_factor": st.floats(0.01, 0.99),
                "growth_interval": st.integers(1, 4),
            }
        ),
        min_size=ROWS,
        max_size=ROWS,
    ),
    steps=st.lists(OVERFLOWING, min_size=1, max_size=12),
    again=st.integers(0, 12),
)
def test_scales_change_as_those_of_torch(rows, steps, again):
    ours, theirs = ([GradScaler("cpu", **row) for row in rows] for _ in range(2))
    scales = LossScales(ours)
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in rows]
    optimizers = [optim.SGD([parameter], 0.0) for parameter in parameters]
    for number, overflowing in enumerate(steps):
        if number == again:
            # As from checkpoints: a scaler that others hold goes on with what is restored.
            for one, other in zip(ours, theirs, strict=True):
                one.load_state_dict(other.state_dict())
        scales.unscale([torch.tensor([[0.0, overflowing.get(row, 0.0)] for row in range(ROWS)])])
        scales.update()
        for row, (theirs_, parameter, optimizer) in enumerate(zip(theirs, parameters, optimizers, strict=True)):
            parameter.grad = torch.tensor([0.0, overflowing.get(row, 0.0)])
            theirs_.scale(parameter)
            theirs_.step(optimizer)
            theirs_.update()
        assert scales.overflowed == sorted(overflowing)
        assert [each.state_dict() for each in ours] == [each.state_dict() for each in theirs]


def test_what_is_set_from_outside_holds():
    scalers = [scaler(row) for row in range(ROWS)]
    scales = LossScales(scalers)
    scalers[1].update(new_scale=3.0)
    scalers[2].set_growth_interval(1)
    assert scales.values.tolist() == [16.0, 3.0, 64.0]
    scales.unscale([torch.ones(ROWS)])
    scales.update()
    assert [each.get_scale() for each in scalers] == [16.0, 3.0, 128.0]
