"""The TensorBoard run of a trial."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from lightning_hp.tracking.trial_run import TrialLogger


def test_the_numbers_of_one_call_are_one_event(tmp_path):
    logger = TrialLogger(tmp_path)
    logger.log_metrics({"a": 1.5, "b": 2, "c": True}, step=3)
    logger.log_metrics({"a": math.inf, "b": math.nan}, step=4)
    logger.experiment.close()
    (path,) = tmp_path.glob("events*")
    events = [event for event in EventFileLoader(str(path)).Load() if event.HasField("summary")]
    assert [(event.step, [value.tag for value in event.summary.value]) for event in events] == [
        (3, ["a", "b", "c"]),
        (4, ["a", "b"]),
    ]
    run = EventAccumulator(str(tmp_path)).Reload()
    assert [(each.step, each.value) for each in run.Scalars("a")] == [(3, 1.5), (4, math.inf)]
    assert [each.value for each in run.Scalars("c")] == [1]


def test_what_is_no_number_is_logged_as_lightning_does(tmp_path):
    logger = TrialLogger(tmp_path)
    logger.log_metrics({"tensor": torch.tensor(0.5), "array": np.float32(0.25), "number": 1.0}, step=1)
    logger.experiment.close()
    run = EventAccumulator(str(tmp_path)).Reload()
    assert {tag: run.Scalars(tag)[0].value for tag in run.Tags()["scalars"]} == {"tensor": 0.5, "array": 0.25, "number": 1.0}
    with pytest.raises(ValueError, match="not supported"):
        TrialLogger(tmp_path / "other").log_metrics({"text": "so"}, step=1)
