"""What tests share: searches that take a fraction of a second, on real digits."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import importlib
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from examples.digits import DigitsData, LitDigits
from lightning_hp import Choice, Log, LogInt, ReverseLog, SearchLoop, loop
from lightning_hp.study import store

torch.set_num_threads(1)
if sys.platform == "linux":
    # From Python 3.14 on, a loader's worker would come from a process that has nothing loaded, and import torch.
    multiprocessing.set_start_method("fork")
# No test cuts the power, so none waits for the disk.
os.fsync = lambda descriptor: None
store.SYNCHRONOUS = "OFF"
# Else each fit would parse the digits anew, in some 40 ms.
sklearn_files = importlib.import_module("sklearn.datasets._base")
parsed = functools.cache(sklearn_files.load_gzip_compressed_csv_data)
sklearn_files.load_gzip_compressed_csv_data = lambda *args, **kwargs: copy.deepcopy(parsed(*args, **kwargs))
# Torch and Lightning stay to the end: Python's own last collections would spend two seconds on their million objects.
gc.collect()
gc.freeze()
# To count them, each search would take some 50 ms.
loop.little_garbage = contextlib.nullcontext


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keeps torch to one thread: Lightning takes all cores from where a strategy starts processes."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def search_in() -> Callable[..., SearchLoop]:
    """Makes a small search over digits in a folder; any argument can be given another value."""

    def make(root_dir: Path, model: Any = LitDigits, **changes: Any) -> SearchLoop:
        arguments: dict[str, Any] = {
            "space": {
                "lr": Log(1e-2, 1.0),
                "momentum": ReverseLog(0.5, 0.95),
                "activation": Choice("relu", "tanh"),
                "data.batch_size": LogInt(64, 256),
            },
            "data": DigitsData,
            "monitor": "val_acc",
            "mode": "max",
            "trials": 3,
            "trainer": {"max_epochs": 2, "accelerator": "cpu"},
            "executor": "inline",
            "fuse": "never",
            "root_dir": root_dir,
            "progress": False,
        }
        return SearchLoop(model, **{**arguments, **changes})

    return make


@pytest.fixture
def search(search_in: Callable[..., SearchLoop], tmp_path: Path) -> Callable[..., SearchLoop]:
    """The same in a folder of the test's own."""

    def make(model: Any = LitDigits, **changes: Any) -> SearchLoop:
        return search_in(changes.pop("root_dir", tmp_path / "study"), model, **changes)

    return make


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of so many KiB, or gives the mounted one another size or other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if place.is_mount() else ["-t", "tmpfs", "-o", options, "tmpfs"]
        done = subprocess.run(["mount", *again, str(place)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return place

    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("no disk in memory can be mounted here")
    yield mount
    if place.is_mount():
        subprocess.run(["umount", "--lazy", str(place)], check=True)
