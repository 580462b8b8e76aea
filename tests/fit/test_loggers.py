"""Loggers of the user's beside TensorBoard: one for each trial, apart from the others', told the trial's hyperparameters."""

from __future__ import annotations

import csv
from functools import partial
from typing import ClassVar

import pytest
import torch
import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from examples.digits import LitDigits
from lightning_hp import ConfigError, Log, LogInt
from lightning_hp.fit.loggers import hold_back, set_apart
from lightning_hp.trial import trial_folder

LANES = {
    "inline": {"executor": "inline"},
    "processes": {"executor": "processes", "workers": 2},
    "fused": {"fuse": "always", "space": {"lr": Log(1e-2, 0.3)}},
}


class Server(Logger):
    """Like MLflow's: a run begins when first asked for, and a parameter keeps its first value."""

    runs: ClassVar[dict[str, dict]] = {}

    def __init__(self, run):
        super().__init__()
        self.run = run

    @property
    def name(self):
        return "server"

    @property
    def version(self):
        return self.run

    def _entry(self):
        return Server.runs.setdefault(self.run, {"params": {}, "metrics": [], "status": []})

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs):
        for name, value in dict(params).items():
            if self._entry()["params"].setdefault(name, str(value)) != str(value):
                raise ValueError(f"{name} cannot be changed")

    @rank_zero_only
    def log_metrics(self, metrics, step=None):
        self._entry()["metrics"].append((step, dict(metrics)))

    @rank_zero_only
    def finalize(self, status):
        self._entry()["status"].append(status)


@pytest.fixture
def server():
    Server.runs.clear()
    return Server.runs


@pytest.mark.slow
@pytest.mark.parametrize("lane", LANES)
def test_each_trial_has_a_folder_of_its_own_by_its_number_in_every_lane(search, tmp_path, lane):
    study = search(
        trainer={"max_epochs": 2, "accelerator": "cpu", "logger": partial(CSVLogger, tmp_path / "csv")}, **LANES[lane]
    ).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 3
    folders = sorted((tmp_path / "csv/lightning_logs").iterdir())
    assert [folder.name for folder in folders] == ["000000", "000001", "000002"]
    for folder, trial in zip(folders, study.trials, strict=True):
        with (folder / "metrics.csv").open() as file:
            values = [float(row["val_acc"]) for row in csv.DictReader(file) if row["val_acc"]]
        assert values == pytest.approx(trial.metrics["val_acc"])
        assert yaml.safe_load((folder / "hparams.yaml").read_text())["lr"] == trial.hparams["lr"]
        assert list(trial_folder(study.root, trial.number).glob("events.out.tfevents.*"))


@pytest.mark.parametrize("lane", ["inline", "fused"])
def test_a_factory_that_asks_for_the_trial_gets_it(search, server, lane):
    trainer = {"max_epochs": 2, "accelerator": "cpu", "logger": lambda trial: Server(f"trial-{trial.number}-{trial.seed}")}
    study = search(trainer=trainer, **LANES[lane]).run()
    assert sorted(server) == sorted(f"trial-{trial.number}-{trial.seed}" for trial in study.trials)
    for trial in study.trials:
        run = server[f"trial-{trial.number}-{trial.seed}"]
        assert run["params"]["lr"] == str(trial.hparams["lr"])
        assert [row["val_acc"] for _, row in run["metrics"] if "val_acc" in row] == pytest.approx(trial.metrics["val_acc"])
        assert "success" in run["status"]


class ByItself(LitDigits):
    def __init__(self, lr):
        super().__init__(lr=lr)
        self._log_hyperparams = False


class Refused(ByItself):
    def on_after_backward(self):
        """Of which a fused fit knows nothing."""


class Branches(ByItself):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss if loss < 1e9 else 2 * loss


class TooLarge(ByItself):
    def training_step(self, batch, batch_idx):
        if torch._C._functorch.is_batchedtensor(self.net[0][0].weight):
            raise torch.OutOfMemoryError("too much for more than one")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("model", [Refused, Branches, TooLarge])
def test_trials_that_turn_out_not_to_train_as_one_begin_one_run_each(search, server, tmp_path, model):
    loggers = [lambda trial: Server(f"{trial.number}-{len(server)}"), partial(CSVLogger, tmp_path / "csv")]
    trainer = {"max_epochs": 1, "accelerator": "cpu", "logger": loggers}
    study = search(model, space={"lr": Log(1e-2, 0.3)}, trainer=trainer, fuse="auto").run()
    assert [trial.state for trial in study.trials] == ["complete"] * 3
    assert sorted(server) == ["0-0", "1-1", "2-2"]
    assert {folder.name for folder in (tmp_path / "csv/lightning_logs").iterdir()} == {"000000", "000001", "000002"}


def test_hyperparameters_that_the_model_does_not_save_are_told_as_well(search, server):
    class Silent(LitDigits):
        def __init__(self, lr):
            super().__init__(lr=lr)
            self._log_hyperparams = False

    space = {"lr": Log(1e-2, 1.0), "data.batch_size": LogInt(64, 256), "trainer.gradient_clip_val": Log(0.5, 1.0)}
    trainer = {"max_epochs": 1, "accelerator": "cpu", "logger": lambda trial: Server(str(trial.number))}
    [trial] = search(Silent, space=space, trainer=trainer, trials=1).run().trials
    assert server["0"]["params"] == {name: str(value) for name, value in trial.hparams.items()}


def test_what_the_model_saves_otherwise_is_told_once(search, server):
    def factory(lr):
        return LitDigits(lr=lr / 2)

    trainer = {"max_epochs": 1, "accelerator": "cpu", "logger": lambda trial: Server(str(trial.number))}
    [trial] = search(factory, space={"lr": Log(1e-2, 1.0)}, trainer=trainer, trials=1).run().trials
    assert (trial.state, trial.reason) == ("complete", None)
    assert server["0"]["params"]["lr"] == str(trial.hparams["lr"] / 2)


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_a_folder_that_is_there_is_left_alone(tmp_path, kind):
    for name in ("000003", "000003-1"):
        (tmp_path / "lightning_logs" / name).mkdir(parents=True)
    logger = kind(tmp_path, name="lightning_logs")
    set_apart(logger, "000003", "study")
    assert logger.log_dir == str(tmp_path / "lightning_logs/000003-2")


def test_a_version_of_the_users_own_stays(tmp_path):
    logger = CSVLogger(tmp_path, version="mine")
    set_apart(logger, "000003", "study")
    assert logger.version == "mine"


def test_a_factory_that_requires_anything_else_is_told_before_a_trial(search):
    with pytest.raises(ConfigError, match=r"without arguments, or with trial=, but requires 'number'"):
        search(trainer={"logger": lambda number: CSVLogger("x")})


def test_a_logger_that_is_held_back_begins_no_run_until_it_is_told_all_in_order(server):
    logger = Server("held")
    tell = hold_back([logger])
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"loss": 1.0}, step=3)
    assert server == {}
    tell()
    assert server["held"] == {"params": {"lr": "0.1"}, "metrics": [(3, {"loss": 1.0})], "status": []}
    logger.log_metrics({"loss": 0.5}, step=4)
    tell()
    assert [step for step, _ in server["held"]["metrics"]] == [3, 4]


@pytest.mark.parametrize("lane", ["inline", "fused"])
def test_a_graph_of_the_model_is_drawn_from_its_example(search, tmp_path, lane):
    class WithExample(LitDigits):
        example_input_array = torch.zeros(2, 64)

        def __init__(self, lr):
            super().__init__(lr=lr)

    logger = partial(TensorBoardLogger, tmp_path / "tb", log_graph=True)
    trainer = {"max_epochs": 1, "accelerator": "cpu", "logger": logger}
    study = search(WithExample, trainer=trainer, **LANES[lane] | {"space": {"lr": Log(1e-2, 0.3)}}).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 3, study.trials[0].traceback
    for number in range(3):
        events = EventAccumulator(str(tmp_path / f"tb/lightning_logs/{number:06d}"))
        events.Reload()
        assert events.Tags()["graph"]


@pytest.mark.parametrize("lane", ["inline", "fused"])
def test_a_modules_logger_is_the_users_and_told_in_order(search, server, lane):
    class Speaking(LitDigits):
        def __init__(self, lr):
            super().__init__(lr=lr)

        def on_train_start(self):
            self.logger.log_metrics({"begun": 1.0}, step=0)

    trainer = {"max_epochs": 1, "accelerator": "cpu", "logger": lambda trial: Server(str(trial.number))}
    search(Speaking, trainer=trainer, **LANES[lane] | {"space": {"lr": Log(1e-2, 0.3)}}).run()
    for run in server.values():
        (_, first), (_, second), *_ = run["metrics"]
        assert first == {"begun": 1.0}
        assert "lr-SGD" in second
