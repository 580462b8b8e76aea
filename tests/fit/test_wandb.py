"""Weights & Biases, of which a process has one run unless told otherwise: here each trial has its own, and ends it."""

from __future__ import annotations

import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger

from examples.digits import LitDigits
from lightning_hp import Log

pytestmark = pytest.mark.slow
LANES = {
    "inline": {"executor": "inline", "fuse": "never"},
    "processes": {"executor": "processes", "workers": 2, "fuse": "never"},
    "fused": {"fuse": "always"},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.mark.parametrize("lane", LANES)
def test_each_trial_has_a_run_in_every_lane(search, tmp_path, lane):
    trainer = {"max_epochs": 2, "accelerator": "cpu", "logger": lambda: WandbLogger(project="digits", save_dir=tmp_path)}
    study = search(trainer=trainer, space={"lr": Log(1e-2, 0.3)}, **LANES[lane]).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 3
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 3


@pytest.mark.parametrize("lane", ["inline", "fused"])
def test_it_has_the_trials_own_hyperparameters_and_name(search, tmp_path, lane):
    loggers, given = {}, {"name": "mine"} if lane == "inline" else {}

    def logger(trial):
        loggers[trial.number] = WandbLogger(project="digits", save_dir=tmp_path, **given)
        return loggers[trial.number]

    trainer = {"max_epochs": 2, "accelerator": "cpu", "logger": logger}
    study = search(trainer=trainer, space={"lr": Log(1e-2, 0.3)}, **LANES[lane]).run()
    for trial in study.trials:
        run = loggers[trial.number].experiment
        assert run.name == given.get("name", f"{trial.number:06d}")
        assert run.group == study.root.name
        assert run.config["lr"] == pytest.approx(trial.hparams["lr"])


def test_what_goes_by_the_run_of_the_process_goes_to_the_trials(search, tmp_path):
    runs = []

    class Watched(LitDigits):
        def __init__(self, lr):
            super().__init__(lr=lr)

        def on_fit_start(self):
            self.logger.watch(self, log_freq=1)

        def on_train_epoch_end(self):
            assert wandb.run is self.logger.experiment
            wandb.log({"mine": 1.0})
            runs.append(wandb.run.id)

    trainer = {"max_epochs": 1, "accelerator": "cpu", "logger": lambda: WandbLogger(project="digits", save_dir=tmp_path)}
    study = search(Watched, trainer=trainer, space={"lr": Log(1e-2, 0.3)}, trials=2).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 2, study.trials[0].traceback
    assert len(set(runs)) == 2
    assert wandb.run is None
