"""Two fits of a trial, metric by metric."""

from __future__ import annotations

import math

import pytest

from lightning_hp import ConfigError
from lightning_hp.study.comparison import compare


def test_equal_values_have_no_difference_nan_and_gaps_included():
    metrics = {"loss": [0.5, None, math.nan], "acc": [1.0, 0.0, math.inf]}
    found = compare(metrics, {name: list(values) for name, values in metrics.items()})
    assert (found.epochs, found.metrics, found.largest, found.first) == (3, ("loss", "acc"), None, None)


def test_the_largest_difference_counts_by_the_size_of_its_metric():
    before = {"loss": [100.0, 50.0], "acc": [0.5, 0.25]}
    after = {"loss": [100.0, 50.001], "acc": [0.5, 0.2501]}
    found = compare(before, after)
    assert (found.largest.metric, found.largest.epoch) == ("acc", 1)
    assert found.largest.size == pytest.approx(0.0002)
    assert found.first is None
    assert compare(before, after, tolerance=1e-4).first == found.largest


def test_the_first_difference_beyond_the_tolerance_is_that_of_the_earliest_epoch():
    found = compare({"a": [1.0, 1.0, 9.0], "b": [1.0, 1.0, 1.0]}, {"a": [1.0, 1.0, 1.0], "b": [1.0, 0.5, 1.0]})
    assert str(found.first) == "b in epoch 1 was 1.0, is 0.5"
    assert str(found.largest) == "a in epoch 2 was 9.0, is 1.0"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"loss": [1.0, 2.0]}, {"loss": [1.0]}, "loss in epoch 1 was 2.0, is nothing"),
        ({"loss": [1.0]}, {"loss": [1.0], "acc": [0.5]}, "acc in epoch 0 was nothing, is 0.5"),
        ({"loss": [1.0]}, {"loss": [math.nan]}, "loss in epoch 0 was 1.0, is nan"),
        ({"loss": [math.inf]}, {"loss": [-math.inf]}, "loss in epoch 0 was inf, is -inf"),
    ],
)
def test_what_is_missing_or_not_finite_is_beyond_any_tolerance(before, after, told):
    assert str(compare(before, after, tolerance=1e9).first) == told


def test_without_metrics_there_is_nothing_to_differ():
    assert compare({}, {}).largest is None


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, True, "0.1", None])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(ConfigError, match="tolerance needs a number of at least 0, got"):
        compare({}, {}, tolerance)
