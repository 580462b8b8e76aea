"""Searches on a GPU, one trial a fit: in worker processes, two on one device, interrupted, babysat, out of memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from examples.digits import DigitsData, LitDigits
from lightning_hp import Choice, Log, Study
from lightning_hp.babysit.log import interventions
from lightning_hp.trial import trial_folder

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

DEVICE = "cuda"
TRAINER = {"max_epochs": 3, "accelerator": "gpu"}
SPACE = {"lr": Log(1e-2, 0.3)}


class Dropped(LitDigits):
    """Digits with dropout, which draws from the device's generator."""

    def __init__(self, lr):
        super().__init__(lr=lr, hidden=16)
        self.net = nn.Sequential(self.net, nn.Dropout(0.2))

    def on_train_start(self):
        assert self.device.type == DEVICE


class Loaded(DigitsData):
    """Batches from worker processes, by way of pinned memory."""

    def train_dataloader(self):
        return DataLoader(super().train_dataloader().dataset, 128, shuffle=True, num_workers=1, pin_memory=True)


def assert_same(ours, theirs):
    assert [trial.state for trial in ours.trials] == ["complete"] * len(theirs.trials), ours.trials[0].traceback
    for one, other in zip(ours.trials, theirs.trials, strict=True):
        assert one.hparams == other.hparams
        assert one.metrics["val_loss"] == pytest.approx(other.metrics["val_loss"], rel=1e-4)


@pytest.mark.parametrize("data", [DigitsData, Loaded])
def test_worker_processes_share_a_device_and_end_as_one_after_another(data, search, tmp_path):
    # As in a notebook that has used the device: what is forked from then on could not.
    torch.zeros(1, device=DEVICE)
    arguments = {"space": SPACE, "data": data, "trials": 4, "trainer": TRAINER}
    one_by_one = search(Dropped, root_dir=tmp_path / "inline", **arguments).run()
    together = search(
        Dropped, root_dir=tmp_path / "processes", executor="processes", workers=2, jobs_per_device=2, **arguments
    ).run()
    assert_same(together, one_by_one)


def test_fused_jobs_run_in_worker_processes(search, tmp_path):
    arguments = {"space": SPACE, "trials": 4, "trainer": TRAINER}
    one_by_one = search(LitDigits, root_dir=tmp_path / "inline", **arguments).run()
    fused = search(LitDigits, root_dir=tmp_path / "fused", executor="processes", workers=1, fuse="always", **arguments).run()
    assert_same(fused, one_by_one)


class Interrupted(Dropped):
    epoch = None

    def on_train_epoch_start(self):
        if self.current_epoch == self.epoch:
            raise KeyboardInterrupt


def test_an_interrupted_trial_goes_on_to_the_same_result(search, tmp_path, monkeypatch):
    arguments = {"space": SPACE, "trials": 2, "trainer": TRAINER}
    whole = search(Dropped, root_dir=tmp_path / "whole", **arguments).run()
    monkeypatch.setattr(Interrupted, "epoch", 2)
    with pytest.raises(KeyboardInterrupt):
        search(Interrupted, **arguments).run()
    monkeypatch.setattr(Interrupted, "epoch", None)
    assert_same(search(Interrupted, **arguments).run(), whole)


class Hungry(LitDigits):
    """Asks for more than any device has."""

    def __init__(self, lr, hungry):
        super().__init__(lr=lr, hidden=16)
        self.hungry = hungry

    def on_train_epoch_start(self):
        if self.hungry:
            torch.empty(2**50, device=self.device)


@pytest.mark.parametrize("lane", [{}, {"executor": "processes", "workers": 1}, {"fuse": "always"}])
def test_a_trial_that_runs_out_of_memory_fails_alone(lane, search):
    space = {**SPACE, "hungry": Choice(True, False)}
    study = search(Hungry, space=space, trials=4, retries=0, trainer=TRAINER, **lane).run()
    states = {trial.hparams["hungry"]: trial.state for trial in study.trials}
    assert states == {True: "failed", False: "complete"}
    assert all("out of memory" in trial.traceback for trial in study.trials if trial.state == "failed")


def test_a_babysitter_goes_back_where_a_fit_diverges(search):
    arguments = {"monitor": "val_loss", "mode": "min", "babysit": True, "trainer": {**TRAINER, "max_epochs": 6}}
    study = search(LitDigits, space={"lr": Choice(1e4)}, trials=1, **arguments).run()
    first, *_ = interventions(trial_folder(study.root, 0) / "babysit.jsonl")
    assert first.after[0].lr < first.before[0].lr
    assert study.best.value < 2.4


def test_what_was_trained_there_is_loaded_without_one(search, tmp_path):
    study = search(LitDigits, trials=2, trainer=TRAINER).run()
    assert next(study.best.load().parameters()).device.type == "cpu"
    code = f"import torch; print(torch.load({str(study.best.checkpoint)!r}, weights_only=True)['epoch'])"
    hidden = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert hidden.returncode == 0, hidden.stderr
    assert len(Study(tmp_path / "study").trials) == 2
