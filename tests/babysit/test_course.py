"""The course of lr and momentum: few knots, exact where they lie, and near everywhere else."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_hp.babysit.course import PRECISION, Course
from lightning_hp.babysit.schedule import along

VALUES = st.floats(0, 2) | st.sampled_from([0.0, 0.1, 1.0])
# Stretches of one kind of schedule each: how long, from where to where, and how.
STRETCHES = st.lists(
    st.tuples(st.integers(1, 60), VALUES, VALUES, st.sampled_from(["stay", "line", "cosine", "jitter"])), min_size=1
)


def series(stretches):
    for length, low, high, kind in stretches:
        for at in range(length):
            share = {"stay": 0.0, "line": at / length, "cosine": (1 - math.cos(at / length * math.pi)) / 2, "jitter": at % 2}[
                kind
            ]
            yield low + (high - low) * share


def optimizer(lr=0.1, momentum=0.9, groups=1):
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(groups)], lr=lr, momentum=momentum)


def follow(course, values, start=0, used=None):
    """Shows a course an optimizer whose lr takes the values, and its momentum half of them."""
    used = used or optimizer()
    for step, value in enumerate(values, start):
        used.param_groups[0].update(lr=value, momentum=value / 2)
        course.follow(step, [used])


@given(stretches=STRETCHES)
def test_the_knots_give_back_the_whole_course(stretches):
    values, course = list(series(stretches)), Course()
    follow(course, values)
    knots = course.take()
    lrs, momenta = along(knots)
    assert len(lrs) == len(values)
    assert lrs[:, 0].tolist() == pytest.approx(values, rel=2 * PRECISION, abs=1e-300)
    assert momenta[:, 0].tolist() == pytest.approx([value / 2 for value in values], rel=2 * PRECISION, abs=1e-300)
    for step, (lr,), (momentum,) in knots:
        assert (lr, momentum) == (values[step], values[step] / 2)
    assert course.take() == []


@given(stretches=STRETCHES, data=st.data())
def test_it_is_the_same_with_a_save_and_a_look_in_between(stretches, data):
    values = list(series(stretches))
    cut = data.draw(st.integers(0, len(values)))
    whole, first, second = Course(), Course(), Course()
    follow(whole, values)
    follow(first, values[:cut])
    first.peek()
    second.load_state_dict(first.state_dict())
    follow(second, values[cut:], cut)
    assert second.take() == whole.take()


@given(stretches=STRETCHES, every=st.integers(1, 30))
def test_so_are_the_values_when_the_knots_are_taken_now_and_then(stretches, every):
    values, course, used, knots = list(series(stretches)), Course(), optimizer(), []
    for start in range(0, len(values), every):
        follow(course, values[start : start + every], start, used)
        knots += course.take()
    assert along(knots)[0][:, 0].tolist() == pytest.approx(values, rel=2 * PRECISION, abs=1e-300)


def test_constants_and_leaps_are_exact():
    values, course = [0.1 * 0.3 ** (step // 7) for step in range(70)], Course()
    follow(course, values)
    knots = course.take()
    assert len(knots) == 20
    assert along(knots)[0][:, 0].tolist() == values


@pytest.mark.parametrize("steps", [10_000, 40_000])
def test_a_long_schedule_takes_few_knots(steps):
    course = Course()
    follow(course, (0.01 + 0.1 * (1 + math.cos(step / steps * math.pi)) for step in range(steps)))
    assert len(course.take()) < 1500


def test_what_is_seen_last_of_a_step_counts():
    course = Course()
    for step, value in [(0, 0.1), (0, 0.2), (1, 0.2), (2, 0.2), (2, 0.4), (3, 0.5)]:
        follow(course, [value], step)
    assert along(course.take())[0][:, 0].tolist() == [0.2, 0.2, 0.4, 0.5]


def test_a_change_after_the_knots_were_taken_counts_in_its_step():
    course = Course()
    follow(course, [0.1, 0.1, 0.1])
    knots = course.take()
    follow(course, [0.2, 0.2], start=2)
    assert along(knots + course.take())[0][:, 0].tolist() == [0.1, 0.1, 0.2, 0.2]


def test_groups_that_come_later_are_followed_from_then_on():
    course, used = Course(), optimizer()
    course.follow(0, [used])
    course.follow(1, [used])
    used.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.5, "momentum": 0.0})
    course.follow(2, [used])
    course.follow(3, [used])
    lrs, momenta = along(course.take())
    assert lrs.tolist() == [[0.1, 0.5]] * 4
    assert momenta.tolist() == [[0.9, 0.0]] * 4


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_number_that_is_none_costs_a_knot_and_no_more(value):
    course = Course()
    follow(course, [0.1, 0.1, value, 0.1, 0.1])
    steps = [step for step, _, _ in course.take()]
    assert steps == [0, 1, 2, 3, 4]


def test_adams_beta1_is_its_momentum_and_adagrad_has_none():
    weights = [nn.Parameter(torch.zeros(1))]
    course = Course()
    course.follow(0, [torch.optim.Adam(weights, betas=(0.8, 0.9)), torch.optim.Adagrad(weights)])
    assert course.take() == [(0, [0.001, 0.01], [0.8, None])]


def test_an_lr_on_a_device_is_looked_at_at_checks_only():
    used, course = optimizer(), Course()
    # Such a tensor has no value to look at, which would be an error.
    used.param_groups[0]["lr"] = torch.tensor(0.1, device="meta")
    course.follow(0, [used])
    assert course.take() == []
    used.param_groups[0]["lr"] = torch.tensor(0.1)
    for step, at_check in itertools.product(range(2), (False, True)):
        course.follow(step, [used], at_check=at_check)
    assert [step for step, _, _ in course.take()] == [0, 1]
