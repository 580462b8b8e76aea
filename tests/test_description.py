"""What a user gave, as plain values: readable, and the same in another process."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, IntEnum
from pathlib import Path

import numpy as np
import pytest

from examples.digits import LitDigits
from lightning_hp import Babysitter, RayCluster
from lightning_hp.description import described


class Frame:
    """Has a method of that name, which is about something else."""

    def describe(self):
        return Frame()


@dataclass
class Settings:
    width: int
    frame: Frame


class Shape(str, Enum):
    ROUND = "round"


class Size(IntEnum):
    SMALL = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (np.float64(0.5), 0.5),
        ((1, [2.0]), [1, [2.0]]),
        ({"max_time": timedelta(minutes=2)}, {"max_time": 120.0}),
        (Path("data"), "data"),
        ([Shape.ROUND, Size.SMALL], ["Shape.ROUND", "Size.SMALL"]),
        (LitDigits, "LitDigits"),
        (functools.partial(LitDigits, hidden=3), {"LitDigits": {"hidden": 3}}),
        (functools.partial(LitDigits, 0.1, hidden=3), {"LitDigits": [0.1, {"hidden": 3}]}),
        (Frame(), "Frame"),
        (Settings(3, Frame()), {"Settings": {"width": 3, "frame": "Frame"}}),
    ],
)
def test_everything_has_a_description_that_json_holds(value, expected):
    assert described(value) == expected
    assert json.loads(json.dumps(described(value))) == expected


def test_a_cluster_is_described_as_in_a_config_and_without_what_may_be_secret():
    assert described(RayCluster()) == "ray"
    cluster = RayCluster(num_gpus=0.5, runtime_env={"working_dir": ".", "env_vars": {"API_KEY": "secret"}})
    assert described(cluster) == {"name": "ray", "num_gpus": 0.5, "runtime_env": {"working_dir": "."}}
    assert cluster.runtime_env["env_vars"] == {"API_KEY": "secret"}


def test_a_babysitter_is_described_by_its_arguments():
    assert described(Babysitter(patience=3))["patience"] == 3
