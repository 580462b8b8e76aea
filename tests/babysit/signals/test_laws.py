"""What holds for every signal, whatever the numbers: plain state that can be taken up again, no errors, no units."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.signals import (
    GradientDrift,
    NotFinite,
    Oscillation,
    Plateau,
    Slow,
    Spike,
    Stuck,
    TrendPlateau,
)
from lightning_hp.errors import ConfigError

SHORT = [
    Plateau("min", 2, 0.0, 1),
    Plateau("max", 1, 0.1, 0),
    TrendPlateau("min", window=4),
    TrendPlateau("max", window=5),
    Slow("min"),
    Slow("max"),
    Oscillation("min"),
    Oscillation("max"),
    NotFinite("loss"),
    NotFinite("monitor"),
    Spike(window=6, lasting=2, deviations=3.0),
    Stuck(window=4, overshoot=2.0),
    GradientDrift(window=4, growth=3.0),
]
WITHOUT_UNIT = [signal for signal in SHORT if not (isinstance(signal, Plateau) and signal.min_delta)]
SIGNALS = pytest.mark.parametrize("signal", SHORT, ids=repr)
ANYTHING = st.lists(st.floats() | st.integers(-3, 3).map(float), max_size=40)
# Of few digits, so that multiplying by a power of two rounds nothing.
TAME = st.lists(st.integers(-(2**10), 2**10).map(float) | st.integers(0, 12).map(lambda bits: 2.0**bits), max_size=40)


def findings(signal, curve, state=None):
    """The steps at which something is found, and the last state."""
    state, found = signal.begin() if state is None else state, []
    for step, value in enumerate(curve):
        state, finding = signal.observe(state, step, value)
        found += [step] if finding else []
    return found, state


@SIGNALS
@given(curve=ANYTHING, split=st.integers(0, 40))
def test_a_state_that_went_through_json_goes_on_alike(signal, curve, split):
    before, state = findings(signal, curve[:split])
    after, _ = findings(signal, curve[split:], json.loads(json.dumps(state)))
    assert before + [split + step for step in after] == findings(signal, curve)[0]


@SIGNALS
@given(curve=ANYTHING, value=st.floats())
def test_observing_and_intervening_leave_the_old_state_as_it_was(signal, curve, value):
    _, state = findings(signal, curve)
    kept = json.dumps(state)
    signal.observe(state, 41, value)
    signal.intervened(state)
    assert json.dumps(state) == kept


@SIGNALS
@given(curve=ANYTHING)
def test_a_finding_carries_its_step_and_a_reason(signal, curve):
    state = signal.begin()
    for step, value in enumerate(curve):
        state, finding = signal.observe(state, 7 * step, value)
        assert finding is None or (finding.step == 7 * step and finding.reason)


@pytest.mark.parametrize("signal", WITHOUT_UNIT, ids=repr)
@given(curve=TAME, exponent=st.integers(-30, 30))
def test_the_unit_of_the_values_does_not_matter(signal, curve, exponent):
    assert findings(signal, [value * 2.0**exponent for value in curve])[0] == findings(signal, curve)[0]


@pytest.mark.parametrize("kind", [TrendPlateau, Slow, Oscillation])
@given(curve=ANYTHING)
def test_min_and_max_mirror_each_other(kind, curve):
    assert findings(kind("min"), curve)[0] == findings(kind("max"), [-value for value in curve])[0]


@SIGNALS
def test_after_an_intervention_nothing_is_found_before_a_window_of_new_values(signal):
    if isinstance(signal, NotFinite):
        pytest.skip("one value is enough")
    _, state = findings(signal, [3.0, 9.0, 2.0, 4.0] * 10)
    assert signal.observe(signal.intervened(state), 41, 1e3)[1] is None


@SIGNALS
def test_only_what_is_not_finite_is_found_at_once(signal):
    for value in (0.0, -1.0, math.nan, math.inf, -math.inf):
        _, finding = signal.observe(signal.begin(), 0, value)
        assert (finding is not None) == (isinstance(signal, NotFinite) and not math.isfinite(value))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: TrendPlateau("up"), "mode"),
        (lambda: TrendPlateau("min", window=2), "window"),
        (lambda: TrendPlateau("min", negligible=-1.0), "negligible"),
        (lambda: TrendPlateau("min", deviations=0), "deviations"),
        (lambda: Slow("min", straightness=2.0), "straightness"),
        (lambda: Slow("min", window=4), "window"),
        (lambda: Oscillation("min", turns=-0.5), "turns"),
        (lambda: Oscillation("min", swing=math.nan), "swing"),
        (lambda: NotFinite("lr"), "source"),
        (lambda: Spike(window=1), "window"),
        (lambda: Spike(undone=math.inf), "undone"),
        (lambda: Stuck(overshoot=0), "overshoot"),
        (lambda: GradientDrift(growth=1.0), "growth"),
        (lambda: GradientDrift(window=True), "window"),
    ],
)
def test_a_setting_out_of_its_range_is_an_error_that_names_it(make, name):
    with pytest.raises(ConfigError, match=f"needs {name} to be"):
        make()
