"""The Babysitter under DDP: two processes that make the same moves at the same steps, whatever each of them sees."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_hp.babysit.actions import Rollback
from lightning_hp.babysit.log import FILE, interventions

ROOT = Path(__file__).parents[2]
SECONDS = 90


def fit_of_two(folder, metric, scheduler):
    """Runs the script, kills it and its second process after a while, and gives its exit code and its output."""
    arguments = [sys.executable, str(Path(__file__).with_name("two_processes.py")), str(folder), metric, scheduler]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        arguments, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"hung for {SECONDS} s:\n{output.decode()}")
    return process.returncode, output.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "scheduler"), [("equal", "none"), ("unequal", "ReduceLROnPlateau"), ("on rank 0 only", "none")]
)
def test_two_processes_make_the_moves_of_rank_0_and_stay_replicas(tmp_path, metric, scheduler):
    code, output = fit_of_two(tmp_path, metric, scheduler)
    assert code == 0, output
    first, second = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert first["seen"] == second["seen"]
    assert first["weights"] == second["weights"]
    assert [lr for lr, _ in first["seen"]] == pytest.approx([0.1] * 9 + [0.02] * 6 + [0.004] * 3)
    assert [each.step for each in interventions(tmp_path / "run" / FILE)] == [9, 15]


@pytest.mark.slow
def test_two_processes_both_go_back_where_the_loss_of_one_explodes(tmp_path):
    code, output = fit_of_two(tmp_path, "nan on rank 1", "none")
    assert code == 0, output
    first, second = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert first["seen"] == second["seen"]
    assert first["weights"] == second["weights"]
    assert all(map(math.isfinite, first["weights"]))
    record = interventions(tmp_path / "run" / FILE)[0]
    assert (record.reason, record.batch, record.actions[0]) == ("the loss is nan", 9, Rollback("good"))


@pytest.mark.slow
def test_two_processes_both_end_when_the_metric_is_missing(tmp_path):
    code, output = fit_of_two(tmp_path, "on no rank", "none")
    assert code == 1
    assert "MonitorError: Babysitter monitor='score' is not logged by the module; it logged train_loss" in output
