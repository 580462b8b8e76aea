"""The signals on curves of real fits: the right lr is let alone until it has converged, wrong ones are found.

``tests/babysit/curves/record.py`` records them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_hp.babysit.signals import GradientDrift, Oscillation, Plateau, Slow, Spike, Stuck, TrendPlateau

FOLDER = Path(__file__).parent.parent / "curves"
NETWORKS = pytest.mark.parametrize("network", ["mlp", "cnn"])


def curve(network, label):
    return json.loads((FOLDER / f"{network}_{label}.json").read_text())


def found(signal, values):
    """The indices at which the signal finds something."""
    state, indices = signal.begin(), []
    for index, value in enumerate(values):
        state, finding = signal.observe(state, index, value)
        indices += [index] if finding else []
    return indices


def converged(losses, part=0.02):
    """The first check from which what is left to gain is a small part of all that is gained, counted from a constant answer."""
    bar = min(losses) + part * (2.3 - min(losses))
    return next(check for check, loss in enumerate(losses) if loss <= bar)


@NETWORKS
@pytest.mark.parametrize("label", ["right", "3x_too_low"])
def test_the_right_lr_is_no_plateau_before_it_has_converged(network, label):
    fit = curve(network, label)
    end = converged(fit["val_loss"])
    assert 4 <= end <= 25
    assert all(check >= end for check in found(TrendPlateau("min"), fit["val_loss"]))
    assert all(check >= end for check in found(TrendPlateau("max"), fit["val_acc"]))


@NETWORKS
@pytest.mark.parametrize("label", ["right", "3x_too_low"])
def test_nothing_else_is_found_at_the_right_lr_or_a_little_below(network, label):
    fit = curve(network, label)
    for signal in (Slow("min"), Oscillation("min")):
        assert found(signal, fit["val_loss"]) == []
    for signal in (Slow("max"), Oscillation("max")):
        assert found(signal, fit["val_acc"]) == []
    assert found(Spike(), fit["loss"]) == found(GradientDrift(), fit["gradient_norm"]) == []
    for signal in (Stuck(), Stuck(window=10)):
        assert found(signal, fit["loss"]) == []


@NETWORKS
def test_a_far_too_low_lr_is_slow_and_neither_a_plateau_nor_stuck(network):
    fit = curve(network, "30x_too_low")
    assert found(Slow("min"), fit["val_loss"])[0] <= 12
    assert found(Slow("max"), fit["val_acc"]) != []
    for signal in (TrendPlateau("min"), Plateau("min"), Oscillation("min")):
        assert found(signal, fit["val_loss"]) == []
    for signal in (Stuck(), Stuck(window=10)):
        assert found(signal, fit["loss"]) == []


@NETWORKS
def test_a_far_too_high_lr_oscillates_and_is_stuck_above_where_it_began(network):
    fit = curve(network, "30x_too_high")
    assert found(Oscillation("min"), fit["val_loss"])[0] <= 8
    for signal in (Stuck(), Stuck(window=10)):
        assert found(signal, fit["loss"]) != []
    assert found(Slow("min"), fit["val_loss"]) == []


@pytest.mark.parametrize("signal", [Stuck(), Stuck(window=10)], ids=repr)
def test_weights_that_were_thrown_far_off_are_stuck_as_soon_as_the_signal_may_say_so(signal):
    assert found(signal, curve("mlp", "30x_too_high")["loss"])[0] == 2 * signal.window - 1


@NETWORKS
def test_an_lr_a_little_too_high_oscillates_before_patience_ends(network):
    losses = curve(network, "3x_too_high")["val_loss"]
    assert min(found(Oscillation("min"), losses) + found(TrendPlateau("min"), losses)) < found(Plateau("min"), losses)[0]
