"""A real disk that is full or cannot be written: a small one in memory, mounted for the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from examples.digits import LitDigits
from lightning_hp import ConfigError, StorageError, Study
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.fit.checkpoints import BEST, LAST
from lightning_hp.study import recorder as recorder_module
from lightning_hp.study import records

# From too small for an empty study to nearly enough for three trials, in KiB.
SIZES = [4, 40, 60, 100, 280, 520]
ADVICE = "see that the folder can be written and has space, then run the same again"


def rows(study):
    return [(trial.number, trial.hparams, trial.state, trial.value, trial.metrics, trial.reason) for trial in study.trials]


def readable(root):
    """The states of a study's trials; none where no search has begun."""
    try:
        return [trial.state for trial in Study(root).trials]
    except ConfigError as error:
        told = str(error)
    assert "no search has begun" in told or "holds no study" in told
    return []


def check_told(error, root):
    assert str(root) in str(error)
    assert str(error).count(ADVICE) == 1


@pytest.mark.parametrize("checkpoints", [True, False], ids=["with checkpoints", "without checkpoints"])
def test_a_search_on_a_full_disk_says_so_and_goes_on_to_the_same_table_when_there_is_space(search, disk, tmp_path, checkpoints):
    trainer = {"max_epochs": 2, "accelerator": "cpu", "enable_checkpointing": checkpoints}
    expected = rows(search(trainer=trainer, root_dir=tmp_path / "whole").run())
    ended = []
    for size in SIZES:
        root = disk(f"size={size}k") / "study"
        try:
            search(trainer=trainer, root_dir=root).run()
        except StorageError as error:
            ended.append(error)
            check_told(error, root)
        assert not list(root.rglob(".*.new"))
        assert "failed" not in readable(root)
        disk("size=50m")
        assert rows(search(trainer=trainer, root_dir=root).run()) == expected
        shutil.rmtree(root)
    assert len(ended) >= len(SIZES) // 2


class FillsTheDisk(LitDigits):
    """Leaves no room on the disk from its second epoch on."""

    def __init__(self, filler, left, curves, **hparams):
        super().__init__(**hparams)
        self.filler, self.left, self.curves = filler, left, curves

    def on_train_epoch_start(self):
        if self.current_epoch == 1 and not self.filler.exists():
            space = os.statvfs(self.filler.parent)
            self.filler.write_bytes(bytes(space.f_bavail * space.f_frsize - self.left))

    def on_train_epoch_end(self):
        self.logger.log_metrics({f"curve {number}": 0.0 for number in range(self.curves)})


def filling(search, root, filler, left=0, curves=0, **trainer):
    def model(**hparams):
        return FillsTheDisk(filler, left, curves, **hparams)

    trainer = {"max_epochs": 3, "accelerator": "cpu", **trainer}
    return search(model, root_dir=root, trials=1, trainer=trainer)


@pytest.mark.parametrize("left", [0, 20_000])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(search, disk, tmp_path, left):
    (tmp_path / "filler").touch()
    expected = rows(filling(search, tmp_path / "whole", tmp_path / "filler", left).run())
    place = disk("size=5m")
    root, filler = place / "study", place / "filler"
    with pytest.raises(StorageError, match=r"(best|last)\.ckpt: No space left on device") as error:
        filling(search, root, filler, left).run()
    check_told(error.value, root)
    folder = root / "trials/000000/checkpoints"
    assert {path.name for path in folder.iterdir()} == {BEST, LAST}
    for path in folder.iterdir():
        assert torch.load(path, weights_only=True)["epoch"] == 0
    filler.unlink()
    disk("size=50m")
    filler.touch()
    assert rows(filling(search, root, filler, left).run()) == expected


# TensorBoard writes in a thread, where nobody sees its error.
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_curves_that_do_not_fit_end_the_search_as_anything_else_does(search, disk, monkeypatch, capfd):
    # So that nothing else is written when the disk is full.
    monkeypatch.setattr(recorder_module, "UPDATE_INTERVAL", 1e9)
    place = disk("size=5m")
    root, filler = place / "study", place / "filler"
    with pytest.raises(StorageError, match="trials/000000: No space left on device") as error:
        filling(search, root, filler, curves=500, enable_checkpointing=False).run()
    check_told(error.value, root)
    assert "Traceback" not in capfd.readouterr().err
    filler.write_bytes(b"")
    resumed = filling(search, root, filler, curves=500, enable_checkpointing=False).run()
    assert [trial.state for trial in resumed.trials] == ["complete"]


def test_in_a_folder_that_cannot_be_written_a_search_says_so_and_a_study_can_be_read(search, disk):
    place = disk("size=20m")
    root = place / "study"
    search(root_dir=root, trials=1).run()
    before = rows(Study(root))
    disk("ro")
    for folder in (root, place / "new", place):
        with pytest.raises(StorageError) as error:
            search(root_dir=folder, trials=2).run()
        check_told(error.value, folder)
    with pytest.raises(StorageError) as error:
        records.repair(root)
    check_told(error.value, root)
    assert rows(Study(root)) == before
    shown = subprocess.run(
        [sys.executable, "-m", "lightning_hp", "show", str(root)], capture_output=True, text=True, check=False
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "1 of 1 trials complete" in shown.stdout
    disk("rw")
    assert len(rows(search(root_dir=root, trials=2).run())) == 2


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="processes are counted by /proc")
def test_worker_processes_on_a_full_disk_end_with_the_search_and_it_goes_on_when_there_is_space(
    search, disk, tmp_path, monkeypatch
):
    monkeypatch.setenv("SEARCH_OF_THE_TEST", str(tmp_path))

    def filling_search(root, filler):
        def model(**hparams):
            return FillsTheDisk(filler, 0, 0, **hparams)

        trainer = {"max_epochs": 3, "accelerator": "cpu"}
        return search(model, root_dir=root, trials=4, trainer=trainer, executor="processes", workers=2)

    (tmp_path / "filler").touch()
    expected = rows(filling_search(tmp_path / "whole", tmp_path / "filler").run())
    place = disk("size=8m")
    root, filler = place / "study", place / "filler"
    with pytest.raises(StorageError, match="No space left on device") as error:
        filling_search(root, filler).run()
    check_told(error.value, root)
    assert processes_with(str(tmp_path)) == []
    assert "failed" not in readable(root)
    filler.write_bytes(b"")
    disk("size=50m")
    assert rows(filling_search(root, filler).run()) == expected
    assert processes_with(str(tmp_path)) == []


def processes_with(text):
    """The processes, other than this, whose environment has such a value."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if text.encode() in environment.read_bytes():
                found.append(environment.parent.name)
    return found
