"""The policies on whole fits in numpy, from an lr 30 times too low to one 30 times too high."""

from __future__ import annotations

import math
import statistics
from functools import cache

import pytest

from lightning_hp.babysit.policies import Probe, Reduce
from lightning_hp.babysit.signals import Plateau
from tests.babysit.policies.simulated import Digits, Valley, babysit

SEEDS = (0, 1, 2)
# What a network that has learned nothing gets, which is where the metric's range begins.
CHANCE = math.log(10)


class Nobody:
    """Leaves the fit alone."""

    def signals(self, plateau):
        return ()

    def begin(self):
        return {}

    def decide(self, state, look):
        return state, None


@cache
def course(fit, policy, times, seed, **arguments):
    return babysit(fit(fit.right_lr * times, seed=seed), policy, policy.signals(Plateau("min")), **arguments)


def ends(fit, policy, times):
    return [course(fit, policy, times, seed).values[-1] for seed in SEEDS]


NOBODY, REDUCE, PROBE = Nobody(), Reduce(), Probe()


@pytest.mark.parametrize("times", [1 / 30, 30.0])
def test_probe_recovers_nine_tenths_of_what_a_far_wrong_lr_loses(times):
    right = statistics.mean(ends(Digits, NOBODY, 1.0))
    gap = statistics.mean(ends(Digits, NOBODY, times)) - right
    assert gap > 0.1
    assert statistics.mean(ends(Digits, PROBE, times)) <= right + 0.1 * gap


@pytest.mark.parametrize("times", [1 / 3, 1.0, 3.0])
def test_probe_ends_within_two_hundredths_of_the_metrics_range_from_a_near_lr(times):
    right = statistics.mean(ends(Digits, NOBODY, 1.0))
    assert statistics.mean(ends(Digits, PROBE, times)) <= right + 0.02 * (CHANCE - right)


@pytest.mark.parametrize("times", [1 / 30, 1 / 3, 1.0, 3.0, 30.0])
def test_under_noise_probe_ends_below_the_best_constant_lr(times):
    assert statistics.mean(ends(Valley, PROBE, times)) < statistics.mean(ends(Valley, NOBODY, 1.0))


def test_reduce_recovers_from_an_lr_that_kills_the_network():
    right, unattended = (statistics.mean(ends(Digits, NOBODY, times)) for times in (1.0, 30.0))
    assert unattended > CHANCE
    assert statistics.mean(ends(Digits, REDUCE, 30.0)) <= right + 0.1 * (unattended - right)


def test_reduce_does_nothing_about_an_lr_that_is_too_low():
    assert ends(Digits, REDUCE, 1 / 30) == ends(Digits, NOBODY, 1 / 30)


@pytest.mark.parametrize("policy", [REDUCE, PROBE], ids=["reduce", "probe"])
@pytest.mark.parametrize("times", [1 / 30, 1.0, 30.0])
def test_the_same_fit_is_babysat_alike_and_within_its_interventions(policy, times):
    first = course(Digits, policy, times, 0)
    again = babysit(Digits(Digits.right_lr * times, seed=0), policy, policy.signals(Plateau("min")))
    assert first == again
    assert first.interventions <= 20
    few = course(Digits, policy, times, 0, max_interventions=2)
    assert few.interventions <= 2


@pytest.mark.parametrize("policy", [REDUCE, PROBE], ids=["reduce", "probe"])
def test_a_fit_that_diverges_whatever_is_done_ends_as_diverged(policy):
    class Hopeless(Valley):
        def step(self):
            super().step()
            return math.nan, math.nan

    end = babysit(Hopeless(0.1), policy, policy.signals(Plateau("min")))
    assert end.diverged
    assert end.interventions == 20
    assert len(end.values) < 30


@pytest.mark.parametrize("times", [1 / 30, 1.0, 30.0])
def test_probe_loses_no_more_than_its_share(times):
    for seed in SEEDS:
        assert course(Digits, PROBE, times, seed).state["lost"] <= PROBE.share * 30


def test_a_fit_without_a_known_end_is_probed_and_not_annealed():
    end = babysit(Valley(Valley.right_lr / 30), PROBE, PROBE.signals(Plateau("min")), known_end=False)
    assert max(knobs.lr for knobs in end.knobs) > 10 * Valley.right_lr / 30
    assert end.values[-1] < statistics.mean(ends(Valley, NOBODY, 1.0))
    assert end.state["lowered"] == 0
