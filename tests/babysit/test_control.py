"""Signals and a policy at work: what is heard some at a time is heard as one by one."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.control import Control
from lightning_hp.babysit.policies import Reduce
from lightning_hp.babysit.signals import Finding, NotFinite, Quick, Spike, Stuck

SIGNALS = [
    NotFinite("loss"),
    Spike(),
    Spike(window=6, lasting=2, deviations=3.0),
    Spike(window=4, lasting=1, deviations=1.0, undone=0.0),
    Spike(window=4, lasting=3, deviations=1.0, undone=1.5),
    Stuck(),
    Stuck(window=4, overshoot=2.0),
]
# Losses of a fit in stretches: how many, about what level, and how far around it.
LEARNING = st.lists(
    st.tuples(st.integers(1, 30), st.floats(-2, 3), st.sampled_from([0.0, 0.01, 0.3])), min_size=1, max_size=8
).flatmap(
    lambda stretches: st.tuples(
        *(
            st.lists(st.floats(level - about, level + about), min_size=length, max_size=length)
            for length, level, about in stretches
        )
    ).map(lambda parts: [loss for part in parts for loss in part])
)
ANYTHING = st.lists(st.floats() | st.integers(-3, 3).map(float) | st.sampled_from([1e150, -2e150, 1e308]), max_size=80)


class OneByOne:
    """A signal that only knows how to look at value after value."""

    def __init__(self, signal):
        self.begin, self.observe, self.intervened, self.source = signal.begin, signal.observe, signal.intervened, signal.source


def control(signals):
    return Control(signals, Reduce(), "min", 20)


@given(losses=LEARNING | ANYTHING, length=st.integers(1, 25), intervened=st.sets(st.integers(0, 100)))
def test_losses_heard_some_at_a_time_are_heard_as_one_by_one(losses, length, intervened):
    some, single = control(SIGNALS), control(map(OneByOne, SIGNALS))
    for start in range(0, len(losses), length):
        for heard in (some, single):
            heard.feed("loss", list(enumerate(losses[start : start + length], start)))
            if start in intervened:
                heard.intervened()
        # As text, since NaN is not itself, and 0 equals -0.
        assert repr(some.state_dict()) == repr(single.state_dict())


def test_a_signal_that_cannot_tell_at_a_glance_is_heard_too():
    once = OneByOne(NotFinite("loss"))
    assert not isinstance(once, Quick)
    heard = control([once])
    heard.feed("loss", [(7, 1.0), (8, math.nan), (9, 1.0), (10, math.inf)])
    assert heard.findings == [Finding("divergence", 8, "the loss is nan")]


@pytest.mark.parametrize("signal", [NotFinite("loss"), Spike(), Stuck()], ids=repr)
@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_a_fit_that_learns_passes_at_a_glance(signal, noise):
    drawn = random.Random(0)
    losses = [0.3 + 2 * 0.97**step + noise * drawn.random() for step in range(400)]
    heard, glances = signal.begin(), []
    for start in range(0, 400, 10):
        state = signal.passed(heard, losses[start : start + 10])
        glances.append(state is not None)
        for step, loss in enumerate(losses[start : start + 10], start):
            heard, _ = signal.observe(heard, step, loss)
        assert state in (None, heard)
    assert all(glances[5:])
