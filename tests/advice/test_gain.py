"""Gain: what more trials bring, against searches that really go on."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_hp import Trial
from lightning_hp.advice.gain import gain
from lightning_hp.trial import RoundBegan


def made(values, mode="min"):
    return [Trial(number, {}, 0, "complete", value=float(v if mode == "min" else -v)) for number, v in enumerate(values)]


@pytest.mark.parametrize("draw", ["standard_normal", "random", "exponential"])
def test_it_is_near_what_as_many_more_trials_bring_and_seldom_too_little(draw):
    expected, brought, within = [], [], []
    for seed in range(300):
        values = getattr(np.random.default_rng(seed), draw)(size=64)
        told = gain(made(values[:32]), "min")
        assert told.trials == 32
        expected.append(told.expected)
        brought.append(values[:32].min() - values.min())
        within.append(brought[-1] <= told.most)
    # It takes the last doubling for the next, which brings less.
    assert np.mean(brought) * 0.8 < np.mean(expected) < np.mean(brought) * 2.5
    assert np.mean(within) > 0.8


def test_the_mode_is_minded_and_the_order_is_not():
    values = np.random.default_rng(0).standard_normal(20)
    low, high = gain(made(values), "min"), gain(made(values[::-1], "max"), "max")
    assert (low.trials, low.little) == (high.trials, high.little)
    assert low.expected == pytest.approx(high.expected)


def test_many_alike_at_the_top_leave_little_to_gain():
    assert gain(made([0.1, 0.1001, 0.1002, 0.1001, 0.1003, *np.linspace(0.2, 0.9, 15)]), "min").little
    assert not gain(made([0.1, *np.linspace(0.5, 0.9, 15)]), "min").little


def test_of_a_sampler_that_learns_the_later_rounds_count():
    values = [*np.linspace(1, 5, 16), *np.linspace(0.5, 0.51, 8), *np.linspace(0.5, 0.51, 8)]
    told = gain(made(values), "min", [RoundBegan(16, "0-15"), RoundBegan(24, "0-23")])
    assert (told.trials, told.in_rounds) == (16, True)
    assert told.most < 0.01
    early = gain(made([0.1, *values]), "min", [RoundBegan(17, "0-16"), RoundBegan(25, "0-24")])
    assert (early.expected, early.most, early.little) == (0.0, 0.0, True)


def test_few_trials_say_nothing():
    assert gain(made(range(7)), "min") is None
    assert gain([], "min", [RoundBegan(16, "0-15")]) is None
    assert gain([*made([np.nan] * 20)], "min") is None
