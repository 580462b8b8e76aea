"""Event files that are written without threads."""

from __future__ import annotations

import os
import threading

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_hp.tracking.event_file import EventWriter
from lightning_hp.tracking.trial_run import TrialLogger


def _steps(folder, tag):
    return [event.step for event in EventAccumulator(str(folder)).Reload().Scalars(tag)]


def test_what_is_logged_is_in_the_file_at_once(tmp_path):
    writer = EventWriter(tmp_path)
    for step in range(3):
        writer.add_scalar("loss", 0.5, step)
        assert _steps(tmp_path, "loss") == list(range(step + 1))


def test_hundreds_of_runs_have_no_thread_and_no_open_file_each(tmp_path):
    resource = pytest.importorskip("resource")
    threads = threading.active_count()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 20, hard))
    try:
        loggers = [TrialLogger(tmp_path / str(number)) for number in range(200)]
        for logger in loggers:
            logger.log_metrics({"loss": 1.0}, step=0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert threading.active_count() == threads
    assert _steps(tmp_path / "199", "loss") == [0]


def test_a_writer_that_goes_on_purges_what_comes_after_its_step(tmp_path):
    first = EventWriter(tmp_path)
    for step in range(4):
        first.add_scalar("loss", 0.5, step)
    first.close()
    second = EventWriter(tmp_path, purge_step=2)
    second.add_scalar("loss", 0.25, 2)
    assert _steps(tmp_path, "loss") == [0, 1, 2]


def test_a_closed_writer_opens_another_file_when_it_is_written_to(tmp_path):
    writer = EventWriter(tmp_path)
    writer.add_scalar("loss", 0.5, 0)
    writer.close()
    writer.add_scalar("loss", 0.5, 1)
    assert _steps(tmp_path, "loss") == [0, 1]
    assert len(list(tmp_path.glob("events*"))) == 2


def test_all_that_a_summary_writer_writes_can_be_written(tmp_path):
    writer = EventWriter(tmp_path)
    writer.add_text("note", "so", 1)
    writer.add_scalars("losses", {"train": 1.0, "val": 2.0}, 1)
    writer.add_histogram("weights", torch.tensor([1.0, 2.0]), 1)
    writer.flush()
    writer.close()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()
    assert tags["histograms"] == ["weights"]
    assert tags["tensors"] == ["note/text_summary"]
    assert _steps(tmp_path / "losses_val", "losses") == [1]


def test_files_of_one_second_are_read_in_the_order_in_which_they_were_begun(tmp_path):
    made = []
    for _ in range(12):
        EventWriter(tmp_path).add_scalar("loss", 1.0, 0)
        made.append(next(path.name for path in tmp_path.iterdir() if path.name not in made))
    assert made == sorted(made)
