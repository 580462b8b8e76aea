"""A disk that takes no data at any one write, or from one on: a clear error, and the search goes on once that is mended."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from lightning_hp import Log, Space, StorageError, Study, Trial
from lightning_hp.study import Recorder
from lightning_hp.study import recorder as recorder_module
from lightning_hp.study.config import write_config
from lightning_hp.study.records import repair
from lightning_hp.trial import EpochEnded, Finished, Outcome, Started

SPACE = Space({"lr": Log(0.1, 1.0)})
ASKED = {"monitor": "val_acc", "mode": "max", "trials": 3, "seed": 0, "space": SPACE.describe()}
OUTCOMES = [Outcome("complete", value=0.5, metrics={"val_acc": [0.5]}), Outcome("failed", reason="x"), Outcome("diverged")]
OPEN = Path.open
ONCE_OR_FOR_GOOD = pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])


class Disk:
    """Fails one write, or all from one on. SQL statements count, and files that are opened to write, synced or renamed."""

    def __init__(self, monkeypatch):
        self.writes, self.failing = 0, range(0)
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments):
                disk.write(sqlite3.OperationalError("disk I/O error"))
                return super().execute(*arguments)

            def executemany(self, *arguments):
                disk.write(sqlite3.OperationalError("database or disk is full"))
                return super().executemany(*arguments)

            def executescript(self, *arguments):
                disk.write(sqlite3.OperationalError("database or disk is full"))
                return super().executescript(*arguments)

        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, **kwargs, factory=Connection))
        for place, name in ((os, "fsync"), (Path, "open"), (Path, "replace"), (Path, "mkdir")):
            monkeypatch.setattr(place, name, self._failing(getattr(place, name)))

    def write(self, error):
        self.writes += 1
        if self.writes - 1 in self.failing:
            raise error

    def _failing(self, function):
        def call(*args, **kwargs):
            reads = function is OPEN and "w" not in (*args[1:], *kwargs.values())
            if not reads:
                self.write(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            return function(*args, **kwargs)

        return call

    def fail(self, number, for_good):
        self.writes, self.failing = 0, range(number, 10**9 if for_good else number + 1)

    def mend(self):
        """Tells whether the write that was to fail has come."""
        come = self.writes > self.failing.start
        self.failing = range(0)
        return come


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(recorder_module, "UPDATE_INTERVAL", 0.0)
    return Disk(monkeypatch)


def search(root, done=None):
    done = [] if done is None else done
    recorder = Recorder(root, ASKED, frozenset(), SPACE)
    try:
        write_config(root, {"search": {"seed": 0}})
        finished = {trial.number for trial in recorder.trials() if trial.finished}
        for number in sorted(set(range(3)) - finished):
            recorder.record(Started(Trial(number, {"lr": 0.5}, seed=number), time=1.0))
            recorder.record(EpochEnded(number, 0, {"val_acc": 0.5}))
            recorder.record(Finished(number, OUTCOMES[number], time=2.0))
            done.append(number)
    finally:
        recorder.close()


def check_told(error, root):
    """The error names a file or folder of the study, and says what to do."""
    assert str(root) in str(error)
    assert "see that the folder can be written and has space, then run the same again" in str(error)


@ONCE_OR_FOR_GOOD
def test_a_search_whose_disk_fails_at_any_write_says_so_and_goes_on_to_the_same_table(disk, tmp_path, for_good):
    search(tmp_path / "whole")
    expected = Study(tmp_path / "whole").trials
    number, told = 0, 0
    while True:
        root, done = tmp_path / str(number), []
        disk.fail(number, for_good)
        try:
            search(root, done)
        except StorageError as error:
            told += 1
            check_told(error, root)
        if not disk.mend():
            break
        if done:
            finished = [trial for trial in Study(root).trials if trial.finished]
            assert finished == expected[: len(finished)]
            assert len(finished) >= len(done)
        assert not list(root.rglob(".*.new"))
        search(root)
        assert Study(root).trials == expected
        shutil.rmtree(root)
        number += 1
    # But for the note on who holds the lock, and the marks on trials that no longer run, none is passed over.
    assert told >= number - 4


@ONCE_OR_FOR_GOOD
def test_a_repair_whose_disk_fails_at_any_write_says_so_and_can_be_run_again(disk, tmp_path, for_good):
    whole = tmp_path / "whole"
    search(whole)
    expected = Study(whole).trials
    (whole / "study.db").write_bytes(b"damaged" * 1000)
    number = 0
    while True:
        root = tmp_path / str(number)
        shutil.copytree(whole, root)
        disk.fail(number, for_good)
        try:
            repair(root)
        except StorageError as error:
            check_told(error, root)
        if not disk.mend():
            break
        repair(root)
        assert Study(root).trials == expected
        number += 1
