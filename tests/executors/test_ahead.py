"""A fork server that is started before the search knows what it will train."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from lightning_hp import Trial
from lightning_hp.executors import ahead
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.executors.place import Place
from lightning_hp.executors.processes import Processes
from lightning_hp.trial import Finished, Job, Outcome

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="nothing is forked here")


@pytest.fixture(autouse=True)
def nothing_ahead():
    yield
    ahead.stop()


def described_by(variable, folder):
    """What a worker says of itself: its parent, a variable, and whether it finds modules in a folder."""

    def work(job, emit):
        words = (str(os.getppid()), os.environ.get(variable), str(folder in sys.path))
        emit(Finished(0, Outcome("complete", reason=" ".join(map(str, words))), 0.0))

    jobs = iter([Job((Trial(0, {}, 0),))])
    heard = []
    Processes([Place((), threads=1)]).run(lambda: next(jobs, None), work, heard.append)
    (finished,) = [event for event in heard if isinstance(event, Finished)]
    return finished.outcome.reason.split()


@pytest.mark.slow
def test_it_forks_the_workers_and_is_as_if_it_had_been_started_only_then(monkeypatch, tmp_path):
    monkeypatch.setenv("GONE_BY_NOW", "1")
    ahead.begin()
    started = ahead._ahead
    monkeypatch.delenv("GONE_BY_NOW")
    monkeypatch.setenv("SINCE", "set")
    monkeypatch.syspath_prepend(tmp_path)
    assert described_by("SINCE", str(tmp_path)) == [str(started.process.pid), "set", "True"]
    assert started.process.poll() is not None
    # The next search has one of its own.
    parent, gone, _ = described_by("GONE_BY_NOW", str(tmp_path))
    assert (parent != str(started.process.pid), gone) == (True, "None")


@pytest.mark.slow
def test_one_that_was_killed_is_replaced():
    ahead.begin()
    started = ahead._ahead
    os.kill(started.process.pid, signal.SIGKILL)
    started.process.wait()
    assert described_by("HOME", "")[0] != str(started.process.pid)


def test_there_is_one_at_most_and_it_ends_where_nobody_takes_it():
    ahead.begin()
    first = ahead._ahead
    ahead.begin()
    second = ahead._ahead
    assert (first.process.returncode, second.process.poll()) == (-signal.SIGKILL, None)
    ahead.stop()
    assert second.process.returncode == -signal.SIGKILL
    ahead.stop()
