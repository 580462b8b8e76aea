"""The signals on curves made up to show one thing each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lightning_hp.babysit.signals import GradientDrift, NotFinite, Oscillation, Plateau, Slow, Spike, Stuck, TrendPlateau


def found(signal, values):
    state, indices = signal.begin(), []
    for index, value in enumerate(values):
        state, finding = signal.observe(state, index, float(value))
        indices += [index] if finding else []
    return indices


def shares(signal, make, draws=200):
    """The part of random curves in which something is found."""
    random = np.random.default_rng(0)
    return sum(bool(found(signal, make(random))) for _ in range(draws)) / draws


def decaying(checks, rate):
    return np.exp(-rate * np.arange(checks))


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01])
def test_a_curve_that_has_levelled_off_is_a_plateau_and_one_that_falls_is_none(noise):
    level = shares(TrendPlateau("min"), lambda random: decaying(40, 0.5) + noise * random.normal(size=40))
    falls = shares(TrendPlateau("min"), lambda random: 1 - 0.02 * np.arange(40) + noise * random.normal(size=40))
    assert level >= 0.9
    assert falls <= 0.02


def test_slow_progress_under_noise_is_a_plateau_to_patience_and_none_to_the_trend():
    def make(random):
        return 3.0 - 0.03 * np.arange(30) + 0.05 * random.normal(size=30)

    assert shares(Plateau("min", patience=2), make) > 0.5
    assert shares(TrendPlateau("min"), make) < 0.1


def test_a_spike_and_its_recovery_are_no_plateau_to_the_trend_but_one_to_patience():
    steady = list(3.0 - 0.05 * np.arange(20))
    spiked = [*steady[:10], *(steady[9] + rise for rise in (3.0, 2.5, 2.0, 1.5, 1.0, 0.6, 0.3)), *steady[10:]]
    assert found(Plateau("min"), spiked) != []
    assert found(TrendPlateau("min"), spiked) == []


def test_a_constant_curve_is_a_plateau_when_its_window_is_full():
    assert found(TrendPlateau("min", window=6), [1.0] * 12) == [5, 11]


def test_a_plateaus_level_does_not_matter():
    curve = decaying(40, 0.5) + 0.001 * np.random.default_rng(0).normal(size=40)
    assert found(TrendPlateau("min"), curve) == found(TrendPlateau("min"), curve + 1024.0) != []


def test_a_straight_decline_is_slow_a_bent_or_a_noisy_one_is_not():
    assert found(Slow("min"), 2.3 - 0.05 * np.arange(10)) == [4, 9]
    assert found(Slow("max"), 0.1 + 0.01 * np.arange(10)) == [4, 9]
    assert found(Slow("min"), 2.3 * decaying(10, 0.5)) == []
    assert shares(Slow("min"), lambda random: 2.3 - 0.05 * np.arange(8) + 0.1 * random.normal(size=8)) < 0.15


def test_swings_as_large_as_the_gain_are_an_oscillation_and_small_ones_are_not():
    fall = 2.0 * decaying(20, 0.6)
    swings = np.where(np.arange(20) % 2, 1.0, -1.0)
    assert found(Oscillation("min"), fall + 0.5 * swings) != []
    assert found(Oscillation("min"), fall + 0.02 * swings) == []
    assert found(Oscillation("min"), np.full(20, 1.0)) == []
    assert found(Oscillation("max"), 0.5 + 0.2 * swings) == [5, 11, 17]


def losses(random, steps=120, noise=0.05):
    return 2.3 * np.exp(-0.05 * np.arange(steps)) + 0.3 + noise * random.normal(size=steps)


def test_a_lasting_jump_of_the_loss_is_a_spike_and_a_single_hard_batch_is_not():
    assert shares(Spike(), losses) == 0.0

    def hard_batch(random):
        curve = losses(random)
        curve[80] += 50.0
        return curve

    def jump(random):
        curve = losses(random)
        curve[80:] += 1.5
        return curve

    assert shares(Spike(), hard_batch) == 0.0
    assert shares(Spike(), jump) == 1.0


def test_a_jump_that_undoes_little_is_no_spike():
    calm = [4.0] + [1.0 + 0.001 * (step % 3) for step in range(80)]
    assert found(Spike(), calm + [1.5] * 10) == []
    assert found(Spike(), calm + [2.5] * 10) != []


def test_a_loss_that_shot_up_and_came_back_to_its_beginning_is_stuck():
    shot = [2.3, 8.0, 40.0, 12.0, 5.0]
    noise = 0.02 * np.random.default_rng(0).normal(size=60)
    assert found(Stuck(), [*shot, *(2.3 + noise)]) != []
    assert found(Stuck(), [*shot, *(2.3 * np.exp(-0.03 * np.arange(60)) + noise)]) == []


def test_weights_that_began_worse_than_a_constant_answer_are_stuck_at_it_too():
    noise = 0.02 * np.random.default_rng(0).normal(size=60)
    assert found(Stuck(), [2.9, 8.0, 40.0, 12.0, 5.0, *(2.3 + noise)]) != []
    # Half of it gained is no dead network.
    assert found(Stuck(), [2.9, 8.0, 40.0, 12.0, 5.0, *(1.2 + noise)]) == []


@pytest.mark.parametrize("fall", [0.0, 0.001])
def test_a_loss_that_hardly_moves_and_never_shot_up_is_not_stuck(fall):
    curves = [
        lambda random, noise=noise: 2.3 - fall * np.arange(300) + noise * random.normal(size=300) for noise in (0.01, 0.3)
    ]
    assert max(shares(Stuck(), make) for make in curves) <= 0.02


def test_a_gradient_that_keeps_growing_drifts_and_one_that_swings_does_not():
    assert found(GradientDrift(), np.exp(0.3 * np.arange(40))) != []
    assert found(GradientDrift(), np.exp(-0.3 * np.arange(40))) == []
    assert shares(GradientDrift(), lambda random: np.exp(1.5 * random.normal(size=100))) <= 0.02
    assert found(GradientDrift(), [0.0, math.inf, math.nan] * 20) == []


def test_nan_and_infinity_are_a_divergence_of_the_series_they_come_in():
    assert found(NotFinite("loss"), [1.0, math.nan, 1.0, -math.inf]) == [1, 3]
    assert NotFinite("monitor").observe({}, 3, math.inf)[1].reason == "the metric is inf"
    assert [NotFinite(source).source for source in ("loss", "monitor")] == ["loss", "monitor"]
