"""A budget of time takes what Lightning's own max_time takes."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from lightning_hp import ConfigError
from lightning_hp.search.budget import seconds


@pytest.mark.parametrize(
    ("max_time", "expected"),
    [
        (None, None),
        (90, 90.0),
        (0.5, 0.5),
        (np.int64(90), 90.0),
        ("00:01:30:00", 5400.0),
        ("01:00:00:01", 86401.0),
        (timedelta(minutes=2), 120.0),
        ({"hours": 1, "seconds": 1}, 3601.0),
    ],
)
def test_a_time_in_any_of_its_forms_is_seconds(max_time, expected):
    assert seconds(max_time) == expected


@pytest.mark.parametrize(
    "max_time",
    [
        0,
        -1,
        "12:00",
        "soon",
        True,
        {"weekz": 1},
        {"hours": "x"},
        timedelta(0),
        [1],
        float("nan"),
        float("inf"),
        {"days": float("nan")},
    ],
)
def test_anything_else_is_refused_by_its_value(max_time):
    with pytest.raises(ConfigError) as error:
        seconds(max_time)
    assert repr(max_time) in str(error.value)


@pytest.mark.parametrize("max_time", ["99999999999:00:00:00", {"days": 1e30}, 10**400])
def test_a_time_that_no_clock_counts_is_refused(max_time):
    with pytest.raises(ConfigError, match="for no limit leave it out"):
        seconds(max_time)
