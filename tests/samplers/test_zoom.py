"""Coarse to fine: rounds that depend on earlier rounds only, inside the space, where the best may lie."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_hp import Choice, CoarseToFine, ConfigError, Int, Linear, Log, LogInt, Quasi, ReverseLog, Space, Trial
from lightning_hp.samplers import region
from lightning_hp.samplers.evidence import evidence, features
from lightning_hp.samplers.surrogate import Posterior, log_expected_improvement

SPACE = Space(
    {
        "lr": Log(1e-4, 1.0),
        "momentum": ReverseLog(0.5, 0.999),
        "dropout": Linear(0.0, 0.5),
        "layers": Int(1, 4),
        "units": LogInt(8, 256),
        "act": Choice("relu", "tanh", "gelu"),
    }
)
ONE = Space({"lr": Log(1e-4, 1.0)})
SMALL = CoarseToFine(first=8, size=4)


def trial(number, hparams, value, state="complete"):
    return Trial(number, hparams, seed=0, state=state, value=value)


def searched(space, objective, trials, sampler=SMALL, mode="min", seed=0):
    """A search without training: what is proposed round by round."""
    history = []
    while len(history) < trials:
        numbers = sampler.round_of(len(history))
        for number, hparams in zip(numbers, sampler.propose(space, seed, numbers, history, mode), strict=True):
            value = objective(hparams)
            state = "complete" if value is not None and math.isfinite(value) else "diverged"
            history.append(trial(number, hparams, value if state == "complete" else None, state))
    return history[:trials]


def test_rounds_follow_each_other_without_gap():
    rounds = [CoarseToFine(first=10, size=3).round_of(number) for number in range(16)]
    assert rounds == [range(10)] * 10 + [range(10, 13)] * 3 + [range(13, 16)] * 3


def test_the_first_round_is_the_quasi_random_one():
    assert SMALL.propose(SPACE, 3, range(8), []) == Quasi().propose(SPACE, 3, range(8), [])


def test_a_round_depends_on_earlier_rounds_only():
    history = searched(ONE, lambda h: abs(math.log10(h["lr"]) + 1.3), 16)
    whole = SMALL.propose(ONE, 0, range(12, 16), history[:12])
    assert [SMALL.propose(ONE, 0, [number], history)[0] for number in range(12, 16)] == whole
    assert SMALL.propose(ONE, 0, range(12, 16), list(reversed(history[:12]))) != []
    assert SMALL.propose(ONE, 1, range(12, 16), history[:12]) != whole


@settings(max_examples=15, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), min_size=8, max_size=8),
    mode=st.sampled_from(["min", "max"]),
    seed=st.integers(0, 5),
)
def test_whatever_has_finished_the_next_round_lies_in_the_space(values, mode, seed):
    hparams = SMALL.propose(SPACE, seed, range(8), [])
    history = [
        trial(n, h, v, "failed" if v is None else "complete") for n, (h, v) in enumerate(zip(hparams, values, strict=True))
    ]
    proposed = SMALL.propose(SPACE, seed, range(8, 12), history, mode)
    assert len(proposed) == 4
    assert SPACE.from_unit(SPACE.to_unit(proposed)) == proposed


@pytest.mark.parametrize("mode", ["min", "max"])
def test_it_finds_a_narrow_optimum(mode):
    sign = 1 if mode == "min" else -1
    found = searched(ONE, lambda h: sign * (math.log10(h["lr"]) + 1.3) ** 2, 20, mode=mode)
    nearest = min(abs(math.log10(each.hparams["lr"]) + 1.3) for each in found)
    by_chance = min(abs(math.log10(h["lr"]) + 1.3) for h in Quasi().propose(ONE, 0, range(20), []))
    assert nearest < 0.005 < by_chance


def test_an_edge_with_the_best_trials_stays_in_the_region():
    history = searched(ONE, lambda h: -math.log10(h["lr"]), 16)
    region = SMALL.explain(ONE, 0, 16, history)["region"]["lr"]
    assert region["high"] == 1.0
    assert "upper end" in region["reason"]
    assert max(each.hparams["lr"] for each in history) == 1.0


def test_a_dimension_that_does_not_matter_is_not_narrowed():
    space = Space({"lr": Log(1e-4, 1.0), "seed": Linear(0.0, 1.0)})
    history = searched(space, lambda h: (math.log10(h["lr"]) + 1.3) ** 2, 24)
    region = SMALL.explain(space, 0, 24, history)["region"]
    assert region["seed"]["unit"][1] - region["seed"]["unit"][0] > 0.8
    assert region["lr"]["unit"][1] - region["lr"]["unit"][0] < 0.2


def test_the_best_trial_so_far_lies_in_the_region():
    for seed in range(3):
        history = searched(SPACE, lambda h: (h["layers"] - 4) ** 2 + abs(math.log10(h["lr"])), 16, seed=seed)
        region = SMALL.explain(SPACE, seed, 16, history)["region"]
        best = min(history, key=lambda each: each.value).hparams
        assert all(region[name]["low"] <= best[name] <= region[name]["high"] for name in ("lr", "layers"))


def test_a_choice_that_is_bad_becomes_rare_and_is_not_dropped():
    space = Space({"lr": Log(1e-4, 1.0), "act": Choice("good", "bad")})
    history = searched(space, lambda h: (math.log10(h["lr"]) + 1.3) ** 2 + (h["act"] == "bad"), 24)
    weights = SMALL.explain(space, 0, 24, history)["region"]["act"]["weights"]
    assert weights["good"] > 0.8
    assert weights["bad"] >= 0.05


def test_where_trials_diverge_it_does_not_go():
    history = searched(ONE, lambda h: None if h["lr"] > 0.1 else -math.log10(h["lr"]), 24)
    late = [each.hparams["lr"] for each in history[12:]]
    assert sum(lr > 0.1 for lr in late) <= len(late) // 2
    assert max(lr for lr in late if lr <= 0.1) > 0.05


@pytest.mark.parametrize("value", [None, 0.5], ids=["all diverged", "all equal"])
def test_where_no_trial_is_better_it_goes_on_over_the_whole_space(value):
    assert [each.hparams for each in searched(ONE, lambda h: value, 16)] == Quasi().propose(ONE, 0, range(16), [])
    assert SMALL.explain(ONE, 0, 8, [])["region"] is None


def test_earlier_trials_are_seen_from_the_first_round_on():
    earlier = [trial(n - 20, h, abs(math.log10(h["lr"]) + 1.3)) for n, h in enumerate(Quasi().propose(ONE, 9, range(20), []))]
    proposed = SMALL.propose(ONE, 0, range(8), earlier)
    assert all(abs(math.log10(each["lr"]) + 1.3) < 0.5 for each in proposed)


@pytest.mark.parametrize("arguments", [{"first": 0}, {"size": 0}, {"first": 2.5}, {"size": "8"}])
def test_rounds_without_trials_are_refused(arguments):
    with pytest.raises(ConfigError, match="whole number of at least 1"):
        CoarseToFine(**arguments)


def test_evidence_is_cut_off_far_from_the_best():
    points = Quasi().propose(ONE, 0, range(5), [])
    values = [1.0, 2.0, 3.0, 1e9, math.nan]
    seen = evidence(ONE, [trial(n, h, v) for n, (h, v) in enumerate(zip(points, values, strict=True))], "min")
    assert seen.values[3] == seen.values[4] == seen.values.max()
    assert list(np.argsort(seen.values, kind="stable")) == [0, 1, 2, 3, 4]
    # The median of what is finite is 2.5.
    np.testing.assert_allclose(seen.values[:3], [0.0, 1 / 1.5, 2 / 1.5])


def test_of_many_trials_the_best_are_kept():
    points = Quasi().propose(ONE, 0, range(100), [])
    history = [trial(n, h, float(n)) for n, h in enumerate(points)]
    seen = evidence(ONE, history, "max", most=20)
    assert len(seen.values) == 20
    best = ONE.to_unit(points[90:])
    assert all(any(np.array_equal(row, kept) for kept in seen.units) for row in best)


def test_what_went_on_tells_what_the_stopped_may_come_to():
    points = Quasi().propose(ONE, 0, range(4), [])
    ends = [
        ("complete", 0.1, 8, ((1, 0.7), (3, 0.4))),
        ("pruned", 0.5, 3, ((1, 0.8), (3, 0.5))),
        ("pruned", 0.9, 1, ((1, 0.9),)),
    ]
    history = [
        Trial(number, points[number], seed=0, state=state, value=value, epochs=epochs, rungs=rungs)
        for number, (state, value, epochs, rungs) in enumerate(ends)
    ]
    seen = evidence(ONE, history, "min", midway=True)
    whole = evidence(ONE, history, "min")
    assert len(whole.values) == 3
    np.testing.assert_array_equal(seen.values[:3], whole.values)
    far = {epochs: math.log1p(epochs) / math.log1p(8) for epochs in (1, 3, 8)}
    # As differences to the best, of which the median makes 1: trial 0 after 1 and 3 epochs, trial 1 after 1.
    assert list(zip(seen.units[3:, 0], seen.values[3:].round(6), seen.reached[3:], strict=True)) == [
        (seen.units[0, 0], round(0.6 / 0.4, 6), far[1]),
        (seen.units[0, 0], round(0.3 / 0.4, 6), far[3]),
        (seen.units[1, 0], round(0.7 / 0.4, 6), far[1]),
    ]
    # A rung at which none was stopped is no place that is known.
    assert len(evidence(ONE, history[:1], "min", midway=True).values) == 1


def test_who_was_best_at_a_rung_and_diverged_afterwards_breaks_no_round():
    points = Quasi().propose(ONE, 0, range(12), [])
    ends = [("diverged", None, 5, ((2, 0.001),))]
    ends += [("pruned", 0.5 + number / 100, 2, ((2, 0.5 + number / 100),)) for number in range(1, 10)]
    ends += [("complete", 0.4 + number / 100, 8, ((2, 0.5 + number / 100),)) for number in (10, 11)]
    history = [
        Trial(number, points[number], seed=0, state=state, value=value, epochs=epochs, rungs=rungs)
        for number, (state, value, epochs, rungs) in enumerate(ends)
    ]
    seen = evidence(ONE, history, "min", midway=True)
    assert seen.values.min() == 0.0
    assert all(math.isfinite(each["lr"]) for each in CoarseToFine().propose(ONE, 0, range(12, 18), history))


def test_features_give_each_value_of_a_choice_the_same_distance():
    space = Space({"act": Choice("a", "b", "c"), "lr": Log(0.1, 1.0)})
    points = features(space, space.to_unit([{"act": each, "lr": 0.1} for each in "abc"]))
    distances = [np.linalg.norm(points[i] - points[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(distances, 1.0)


@given(mean=st.floats(-5, 5), deviation=st.floats(1e-3, 10), best=st.floats(-5, 5))
def test_the_expected_improvement_is_that_of_its_definition(mean, deviation, best):
    posterior = Posterior(np.array([mean]), np.array([[deviation**2]]), 0.0)
    told = log_expected_improvement(posterior, best)[0]
    z = (best - mean) / deviation
    if z > -5:
        exact = deviation * (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) + z * 0.5 * math.erfc(-z / math.sqrt(2)))
        assert math.isclose(told, math.log(exact), rel_tol=1e-3, abs_tol=1e-3)
    assert math.isfinite(told)


def test_the_expected_improvement_falls_without_end():
    told = log_expected_improvement(Posterior(np.linspace(0, 1000, 200), np.eye(200), 0.0), 0.0)
    assert (np.diff(told) < 0).all()


def test_a_round_larger_than_what_is_looked_at_repeats_no_point(monkeypatch):
    monkeypatch.setattr(region, "CANDIDATES", 8)
    sampler = CoarseToFine(first=12, size=12)
    history = searched(ONE, lambda h: abs(math.log10(h["lr"]) + 1.3), 12, sampler)
    proposed = sampler.propose(ONE, 0, range(12, 24), history)
    assert len({hparams["lr"] for hparams in proposed}) == 12
