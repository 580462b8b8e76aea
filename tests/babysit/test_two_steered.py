"""Requests under DDP: rank 0 reads them, and both processes do them before the same batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_hp.babysit.log import FILE, read
from lightning_hp.babysit.mailbox import FOLDER, LOCK

ROOT = Path(__file__).parents[2]
SECONDS = 90


@pytest.mark.slow
def test_two_processes_do_what_a_person_asks_at_the_same_batches_and_stay_replicas(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("two_steered.py")), str(tmp_path)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"hung for {SECONDS} s:\n{output.decode()}")
    assert process.returncode == 0, output.decode()
    first, second = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert first == second
    requests = [each for each in read(tmp_path / "run" / FILE) if each.event == "request"]
    assert [each.detail["request"]["kind"] for each in requests] == ["nudge", "pause", "nudge", "resume", "stop"]
    lr, pause, momentum, resume, stop = [each.batch for each in requests]
    assert 4 <= lr < 8 <= pause == momentum == resume <= 12
    # An epoch has three batches; the one that a stop comes before is made.
    assert stop == 15
    assert len(first["seen"]) == stop + 1
    assert [seen[0] for seen in first["seen"]] == pytest.approx([0.1] * lr + [0.05] * (stop + 1 - lr))
    assert [seen[1] for seen in first["seen"]] == pytest.approx([0.9] * momentum + [0.95] * (stop + 1 - momentum))
    assert not (tmp_path / "run" / LOCK).exists()
    answers = [json.loads(path.read_text()) for path in (tmp_path / "run" / FOLDER).glob("*.answer")]
    assert [answer["done"] for answer in answers] == [True] * 5
