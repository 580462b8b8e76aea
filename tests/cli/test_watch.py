"""``lightning-hp watch``: a search seen from another terminal."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from lightning_hp import Log, Space
from lightning_hp.cli import watch
from lightning_hp.study import Recorder
from lightning_hp.study.lock import HOLDER
from lightning_hp.trial import EpochEnded, Finished, Outcome, Started, Trial

SPACE = Space({"lr": Log(1e-4, 1.0)})


class Search:
    """A search that goes on by a step whenever it is waited for."""

    def __init__(self, root, monkeypatch, total=3):
        self.root, self.total, self.recorder = root, total, None
        self.steps = []
        monkeypatch.setattr(watch.time, "sleep", lambda seconds: self.steps.pop(0)())

    def begin(self):
        asked = {"monitor": "acc", "mode": "max", "total": self.total, "space": SPACE.describe(), "trainer": {"max_epochs": 4}}
        self.recorder = Recorder(self.root, asked, frozenset(), SPACE)

    def start(self, number):
        self.recorder.record(Started(Trial(number, {"lr": 0.1}, 0), 0.0))

    def epoch(self, number, epoch, value):
        self.recorder._updated = -10.0
        self.recorder.record(EpochEnded(number, epoch, {"acc": value}))

    def finish(self, number, value):
        outcome = Outcome("complete", value, 4) if value is not None else Outcome("failed", reason="no")
        self.recorder.record(Finished(number, outcome, 1.0))

    def end(self):
        self.recorder.close()


@pytest.fixture
def search(tmp_path, monkeypatch):
    made = Search(tmp_path / "study", monkeypatch)
    yield made
    if made.recorder is not None:
        made.recorder.close()


def watched(run):
    result = run(None, "watch", "study")
    assert (result.code, result.err) == (0, "")
    return result.out.splitlines()


def test_it_waits_for_a_search_and_tells_of_each_trial_until_the_end(run, search):
    search.steps = [
        lambda: None,
        search.begin,
        lambda: search.start(0),
        lambda: search.epoch(0, 0, 0.5),
        lambda: (search.finish(0, 0.75), search.start(1)),
        lambda: (search.finish(1, None), search.start(2), search.finish(2, 0.5)),
        search.end,
    ]
    lines = watched(run)
    assert lines[:4] == [
        f"no search has begun in {search.root} yet: waiting",
        "[1/3] trial 0: complete, acc 0.75; best acc 0.75 (trial 0)",
        "[2/3] trial 1: failed, no; best acc 0.75 (trial 0)",
        "[3/3] trial 2: complete, acc 0.5; best acc 0.75 (trial 0)",
    ]
    assert lines[4] == "2 of 3 trials complete, 1 failed; best acc first (max)"
    assert lines[-1] == "the search is over"
    assert search.steps == []


def test_what_was_finished_before_is_counted_and_not_told_again(run, search):
    search.begin()
    search.start(0)
    search.finish(0, 0.9)
    search.steps = [lambda: (search.start(1), search.finish(1, 0.5)), search.end]
    lines = watched(run)
    assert lines[0] == "[2/3] trial 1: complete, acc 0.5; best acc 0.9 (trial 0)"
    assert lines[-1] == "no search is at work there; the same search goes on from here"


def test_of_a_finished_search_it_shows_how_it_ended_and_waits_for_nothing(run, search):
    search.begin()
    for number in range(3):
        search.start(number)
        search.finish(number, 0.1 * number)
    search.end()
    lines = watched(run)
    assert lines[0].startswith("3 of 3 trials complete;")
    assert lines[-1] == "the search is over"


def test_a_search_that_was_killed_is_not_waited_for(run, search):
    search.begin()
    search.start(0)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (search.root / HOLDER).write_text(json.dumps({"pid": dead.pid, "host": socket.gethostname()}))
    assert watched(run)[-1] == "no search is at work there; the same search goes on from here"


def test_ctrl_c_ends_the_watching_and_not_the_search(run, search):
    def interrupt():
        raise KeyboardInterrupt

    search.begin()
    search.start(0)
    search.steps = [interrupt]
    lines = watched(run)
    assert lines[0] == "0 of 3 trials complete, 1 running, 2 waiting; best acc first (max)"
    assert lines[-1] == f"the search goes on: lightning-hp watch {search.root}"
    search.finish(0, 0.5)


def test_ctrl_c_before_any_search_has_begun_is_no_error(run, search):
    def interrupt():
        raise KeyboardInterrupt

    search.steps = [interrupt]
    assert watched(run) == [f"no search has begun in {search.root} yet: waiting"]


def test_a_file_is_not_waited_for(run, tmp_path):
    (file := tmp_path / "file").write_text("")
    done = run(None, "watch", str(file))
    assert (done.code, done.err) == (2, f"lightning-hp: {file} is no folder: watch needs that of a study, which may be empty\n")


def test_in_a_terminal_there_are_bars_for_the_search_and_the_running_trials(search):
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40, _environ={})
    search.begin()
    search.start(0)
    search.finish(0, 0.75)
    search.start(1)
    search.epoch(1, 1, 0.5)

    def drawn():
        while "2/4" not in console.file.getvalue():
            threading.Event().wait(0.05)

    search.steps = [drawn, lambda: search.finish(1, 0.5), search.end]
    watch._follow(search.root, console)
    text = console.file.getvalue()
    assert "best acc 0.75 (trial 0)" in text
    assert "trial 1 acc 0.5" in text
    assert "trial 1: complete, acc 0.5" in text


def test_a_damaged_study_is_told(run, search):
    search.begin()
    search.end()
    (search.root / "study.db").write_bytes(b"no database" * 100)
    result = run(None, "watch", "study")
    assert result.code == 1
    assert "is damaged" in result.err


@pytest.mark.slow
def test_it_follows_a_real_search_in_another_process(run, config):
    config["search"]["trials"] = 3
    Path("config.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "lightning_hp", "search", "config.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(Path(watch.__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        lines = watched(run)
        assert process.wait() == 0
    assert "3 of 3 trials complete; best val_acc first (max)" in lines
    assert lines[-1] == "the search is over"
