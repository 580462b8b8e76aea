"""The temporary folder: whatever is killed, nothing of ours stays there when a search has ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lightning_hp import StorageError
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.executors.scratch import PREFIX, keep_sockets_in, scratch_folder
from tests.scripts import QUICKLY

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def temporary(monkeypatch):
    """A temporary folder of the test's own, whose path is short as sockets need it."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def left(temporary):
    return [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor")]


SCRIPT = f"""{QUICKLY}
import os, signal, sys, time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from examples.digits import LitDigits
from lightning_hp import Log, SearchLoop

root, context, epochs = sys.argv[1:]


class Mine(LitDigits):
    def on_train_batch_start(self, batch, batch_idx):
        # A trial that goes on may have come further than to its second epoch.
        if self.current_epoch:
            victim = Path(root).with_name("killed")
            if not victim.exists():
                victim.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            print("trains on", flush=True)


def data():
    dataset = TensorDataset(torch.rand(64, 64), torch.zeros(64, dtype=torch.long))
    return DataLoader(dataset, num_workers=1, multiprocessing_context=context), DataLoader(dataset, batch_size=64)


SearchLoop(Mine, space=dict(lr=Log(1e-2, 1.0)), data=data, monitor="val_acc", mode="max", trials=2,
           trainer=dict(max_epochs=int(epochs), accelerator="cpu"), executor="processes", workers=2, root_dir=root).run()
"""


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="the script has no main guard")
@pytest.mark.parametrize("context", ["fork", pytest.param("forkserver", marks=pytest.mark.exhaustive)])
def test_nothing_is_left_by_killed_workers_and_killed_searches(tmp_path, temporary, context):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    def start(epochs):
        command = [sys.executable, "script.py", "study", context, str(epochs)]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    with start(1000) as search:
        for line in search.stderr:
            if "trains on" in line:
                break
        search.send_signal(signal.SIGKILL)
    assert left(temporary)
    with start(1000) as search:
        for line in search.stderr:
            if "trains on" in line:
                break
        assert len(left(temporary)) == 1
        search.send_signal(signal.SIGINT)
    assert left(temporary) == []


def hold(ready, end):
    with scratch_folder():
        ready.set()
        end.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_the_folder_of_a_search_that_runs_stays_and_that_of_a_killed_one_goes(temporary):
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(ready, end))
    process.start()
    ready.wait()
    (theirs,) = temporary.glob(f"{PREFIX}*")
    (theirs / "something").touch()
    with scratch_folder() as ours:
        assert theirs.is_dir()
        assert ours.is_dir()
    process.kill()
    process.join()
    assert theirs.is_dir()
    with scratch_folder() as ours:
        assert [path.name for path in temporary.glob(f"{PREFIX}*")] == [ours.name]
    assert list(temporary.glob(f"{PREFIX}*")) == []


def test_what_only_looks_like_such_a_folder_stays(temporary, tmp_path):
    (tmp_path / "precious").touch()
    (temporary / f"{PREFIX}file").touch()
    (temporary / f"{PREFIX}link").symlink_to(tmp_path)
    with scratch_folder():
        pass
    assert sorted(left(temporary)) == [f"{PREFIX}file", f"{PREFIX}link"]
    assert (tmp_path / "precious").exists()


def test_where_nothing_can_be_locked_nothing_is_swept(temporary, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with scratch_folder() as first, scratch_folder():
        assert first.is_dir()
    assert left(temporary) == []


def test_a_search_that_another_one_sweeps_away_as_it_begins_makes_another_folder(temporary, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    flock = fcntl.flock

    def after_another(descriptor, operation):
        monkeypatch.undo()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        (folder,) = temporary.glob(f"{PREFIX}*")
        folder.rmdir()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", after_another)
    with scratch_folder() as folder:
        assert folder.is_dir()


def test_sockets_are_kept_there_even_where_the_temporary_folders_path_is_too_long_for_them(temporary, monkeypatch):
    deep = temporary / ("long" * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with scratch_folder() as folder:
        place = multiprocessing.get_context("spawn").Process(target=connect, args=(str(folder),))
        place.start()
        place.join()
        assert place.exitcode == 0


def connect(folder):
    from multiprocessing.connection import Listener

    keep_sockets_in(folder)
    with Listener(family="AF_UNIX") as listener:
        assert listener.address.startswith(folder)


def test_a_temporary_folder_that_cannot_be_written_is_told(temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "gone"))
    told = r"gone/lightning-hp-\w+: No such file or directory: see that the folder"
    with pytest.raises(StorageError, match=told), scratch_folder():
        pass
