"""Loaders with workers of their own, in worker processes: what a script defines reaches them, and comes back from them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_hp.executors.launch import CAN_FORK

CONTEXTS = ["fork", "spawn", "forkserver"] if CAN_FORK else ["spawn"]

SCRIPT = """
import sys, threading
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from examples.digits import LitDigits
from lightning_hp import Log, SearchLoop
from lightning_hp.trial import Printed

root, context, executor, kind = sys.argv[1:]
scale = None


class Batch(NamedTuple):
    images: torch.Tensor
    labels: torch.Tensor


class Mine(Dataset):
    made = 0

    def __init__(self):
        self.images = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
        Mine.made += 1

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index] * scale, torch.tensor(index % 10)


class Locked(Mine):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Mistake(Exception):
    pass


class Mistaken(Mine):
    def __getitem__(self, index):
        raise Mistake("of mine")


def set_scale(number):
    global scale
    scale = 0.5


class Model(LitDigits):
    def training_step(self, batch, batch_idx):
        assert isinstance(batch, Batch)
        assert Mine.made
        return super().training_step(batch, batch_idx)


def data():
    set_scale(0)
    train = {"well": Mine, "locked": Locked, "mistaken": Mistaken}[kind]()
    loader = DataLoader(
        train,
        batch_size=16,
        num_workers=1,
        multiprocessing_context=context,
        worker_init_fn=set_scale,
        collate_fn=lambda items: Batch(*(torch.stack(parts) for parts in zip(*items))),
    )
    return loader, DataLoader(Mine(), batch_size=16)


study = SearchLoop(Model, space={"lr": Log(1e-2, 1.0)}, data=data, monitor="val_acc", mode="max", trials=1, retries=0,
                   trainer={"max_epochs": 2, "accelerator": "cpu"}, executor=executor, root_dir=root, progress=False).run()
for trial in study.trials:
    print(trial.state, trial.value, trial.metrics, trial.reason)
"""


def run(tmp_path, context, executor="processes", kind="well"):
    """What becomes of the only trial of a search with such a loader."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", f"study-{context}-{executor}", context, executor, kind],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="the other way to start a loader's workers needs a script with a main guard")
def test_a_loaders_workers_may_be_started_in_any_way_and_the_trial_is_the_same(tmp_path):
    expected = run(tmp_path, "fork", "inline")
    assert expected.startswith("complete")
    for context in CONTEXTS:
        assert run(tmp_path, context) == expected


@pytest.mark.parametrize("context", CONTEXTS[:2])
def test_an_error_of_the_scripts_own_kind_in_a_loaders_worker_is_told(tmp_path, context):
    told = run(tmp_path, context, kind="mistaken")
    assert told.startswith("failed")
    assert "Mistake: Caught Mistake in DataLoader worker process 0" in told
    assert "of mine" in told


def test_a_dataset_that_cannot_be_sent_to_a_loaders_worker_is_told(tmp_path):
    assert "TypeError: cannot pickle '_thread.lock' object" in run(tmp_path, "spawn", kind="locked")
