"""Loaders with workers of their own, in worker processes: what a script defines reaches them, and comes back from them."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Choice, Log
from lightning_hp.executors.launch import CAN_FORK
from tests.scripts import QUICKLY

CONTEXTS = ["fork", "spawn", "forkserver"]

SCRIPT = f"""{QUICKLY}
import json, sys, threading
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from examples.digits import LitDigits
from lightning_hp import Choice, Log, SearchLoop

executor, *asked = sys.argv[1:]
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


def data(how):
    set_scale(0)
    kind, context = how.split()
    train = dict(well=Mine, locked=Locked, mistaken=Mistaken)[kind]()
    loader = DataLoader(
        train,
        batch_size=16,
        num_workers=1,
        multiprocessing_context=context if executor == "processes" else "fork",
        worker_init_fn=set_scale,
        collate_fn=lambda items: Batch(*(torch.stack(parts) for parts in zip(*items))),
    )
    return loader, DataLoader(Mine(), batch_size=16)


study = SearchLoop(Model, space={{"lr": Log(1e-2, 1.0), "data.how": Choice(*asked)}}, data=data, monitor="val_acc", mode="max",
                   enqueue=[{{"lr": 0.1, "data.how": how}} for how in asked], trials=len(asked), retries=0,
                   trainer=dict(max_epochs=1, accelerator="cpu"), executor=executor, root_dir=executor, progress=False).run()
print(json.dumps([(trial.state, trial.value, trial.metrics, trial.reason) for trial in study.trials]))
"""


def search(tmp_path, executor, *asked):
    """What becomes of the trials of a search with such loaders: of each its state, value, metrics and reason."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", executor, *asked],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="the other ways to start a loader's workers need a script with a main guard")
def test_a_loaders_workers_may_be_started_in_any_way_and_what_goes_wrong_in_them_is_told(tmp_path):
    well = [f"well {context}" for context in CONTEXTS]
    expected = search(tmp_path, "inline", *well)
    assert [state for state, *_ in expected] == ["complete"] * 3
    *same, forked, spawned, locked = search(tmp_path, "processes", *well, "mistaken fork", "mistaken spawn", "locked spawn")
    assert same == expected
    for state, _, _, reason in (forked, spawned):
        assert state == "failed"
        assert "Mistake: Caught Mistake in DataLoader worker process 0" in reason
        assert "of mine" in reason
    assert "TypeError: cannot pickle '_thread.lock' object" in locked[3]


@pytest.mark.skipif(not CAN_FORK, reason="loaders' workers are not forked here")
def test_a_loaders_workers_are_forked_where_nothing_else_is_said(search):
    def data(how):
        dataset = TensorDataset(torch.rand(8, 64), torch.zeros(8, dtype=torch.long))
        if how == "locked":
            dataset.lock = threading.Lock()
        else:
            multiprocessing.set_start_method(how)
            assert multiprocessing.get_start_method() == how
        return DataLoader(dataset, batch_size=8, num_workers=how == "locked"), DataLoader(dataset, batch_size=8)

    hows = ["locked", "spawn"]
    settings = {"enqueue": [{"lr": 0.1, "data.how": how} for how in hows], "trials": len(hows), "data": data}
    space = {"lr": Log(1e-2, 1.0), "data.how": Choice(*hows)}
    study = search(space=space, executor="processes", workers=1, **settings).run()
    assert [(trial.state, trial.reason) for trial in study.trials] == [("complete", None)] * 2
