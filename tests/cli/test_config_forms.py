"""The forms of a config that LightningCLI's documentation shows: ``fit`` runs each, we search it, and ``fit`` runs the best."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

import tests.cli.lit
from lightning_hp import Study
from lightning_hp.cli.names import drop, locate

LIT = "tests.cli.lit"
NET = {"class_path": f"{LIT}.Net"}
BLOBS = {"class_path": f"{LIT}.Blobs"}
FAST = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
LR = {"scale": "log", "low": 0.01, "high": 0.1}
WIDTH = {"scale": "int", "low": 2, "high": 3}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}


@dataclass
class Form:
    """Files in order, flags of ``fit``, and a space whose names reach into them."""

    files: dict[str, object]
    space: dict[str, object]
    flags: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    before: bool = False


def of(space, **config):
    return Form({"config.yaml": {"model": NET, "data": BLOBS, "trainer": FAST, **config}}, space)


EARLY = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss"}}
CSV = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "csv"}}
FORMS = {
    "class_path and init_args": of(
        {"model.lr": LR, "data.init_args.batch_size": {"scale": "int", "low": 8, "high": 16}},
        model={**NET, "init_args": {"width": 3}},
        data={**BLOBS, "init_args": {"spread": 0.3}},
    ),
    "the whole dotted path": of({"model.init_args.lr": LR}),
    "a class by its name": of({"model.lr": LR, "data.batch_size": WIDTH}, model="Net", data={"class_path": "Blobs"}),
    "a class by its path alone": of({"model.lr": LR}, model=f"{LIT}.Net", data=f"{LIT}.Blobs"),
    "a class among the init_args": of(
        {"model.encoder.slope": LR, "model.init_args.encoder.init_args.width": WIDTH},
        model={"class_path": f"{LIT}.WithParts", "init_args": {"encoder": {"class_path": f"{LIT}.Encoder"}}},
    ),
    "an optimizer among the init_args": of(
        {"model.optimizer.lr": LR},
        model={
            "class_path": f"{LIT}.WithParts",
            "init_args": {
                "encoder": {"class_path": f"{LIT}.Encoder"},
                "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.3}},
            },
        },
    ),
    "dict_kwargs": of({"model.lr": LR, "model.width": WIDTH}, model={"class_path": f"{LIT}.Open", "dict_kwargs": {"depth": 3}}),
    "callbacks and loggers": of(
        {"model.lr": LR, "trainer.gradient_clip_val": LR},
        trainer={**FAST, "callbacks": [EARLY, "LearningRateMonitor"], "logger": [CSV]},
    ),
    "a logger that is searched": of(
        {"trainer.logger.flush_logs_every_n_steps": WIDTH}, trainer={**FAST, "logger": CSV, "profiler": "simple"}
    ),
    "an optimizer": of({"optimizer.init_args.lr": LR, "optimizer.momentum": LR}, optimizer=SGD),
    "an optimizer by its name": of({"optimizer.lr": LR}, optimizer={"class_path": "Adam", "init_args": {"lr": 0.2}}),
    "an optimizer and a scheduler": of(
        {"optimizer.lr": LR, "lr_scheduler.gamma": LR},
        optimizer=SGD,
        lr_scheduler={"class_path": "StepLR", "init_args": {"step_size": 1}},
    ),
    "a scheduler of a metric": of(
        {"optimizer.lr": LR, "lr_scheduler.factor": LR},
        optimizer=SGD,
        lr_scheduler={
            "class_path": "lightning.pytorch.cli.ReduceLROnPlateau",
            "init_args": {"monitor": "val_loss", "factor": 0.5},
        },
    ),
    "a seed": of({"model.lr": LR}, seed_everything=7),
    "several files": Form(
        {
            "base.yaml": {
                "model": {**NET, "init_args": {"width": 3}},
                "data": BLOBS,
                "trainer": {**FAST, "callbacks": [EARLY]},
            },
            "over.yaml": {
                "model": {"init_args": {"width": 2}},
                "trainer": {"callbacks+": ["LearningRateMonitor"], "max_epochs": 2},
            },
        },
        {"model.lr": LR},
    ),
    "a file for each group": Form(
        {"config.yaml": {"model": "model.yaml", "data": BLOBS, "trainer": "trainer.yaml"}}, {"model.lr": LR}
    ),
    "groups as flags": Form(
        {}, {"model.lr": LR}, flags=["--trainer", "trainer.yaml", "--model", "model.yaml", "--data", "Blobs"]
    ),
    "flags over a file": Form(
        {"config.yaml": {"model": NET, "data": BLOBS, "trainer": {**FAST, "max_epochs": 5}}},
        {"model.lr": LR},
        flags=[
            "--trainer.max_epochs",
            "1",
            "--model.width=3",
            "--trainer.callbacks+=LearningRateMonitor",
            "--trainer.callbacks.logging_interval=step",
        ],
    ),
    "optimizers as flags": Form(
        {"config.yaml": {"model": NET, "data": BLOBS, "trainer": FAST}},
        {"optimizer.lr": LR},
        flags=["--optimizer", "SGD", "--optimizer.lr=0.3", "--lr_scheduler=CosineAnnealingLR", "--lr_scheduler.T_max=4"],
    ),
    "sections by subcommand": Form(
        {"config.yaml": {"fit": {"model": NET, "data": BLOBS, "trainer": FAST}, "test": {"model": NET}}},
        {"model.lr": LR},
        before=True,
    ),
    "environment variables": Form(
        {"config.yaml": {"model": NET, "data": BLOBS, "trainer": {**FAST, "max_epochs": 5}}},
        {"model.lr": LR},
        environment={"JSONARGPARSE_DEFAULT_ENV": "true", "PL_FIT__MODEL__WIDTH": "3", "PL_FIT__TRAINER__MAX_EPOCHS": "1"},
    ),
}


@pytest.fixture
def fit(monkeypatch):
    """Runs ``fit`` of LightningCLI; gives the CLI back."""

    def command(arguments, **keywords):
        monkeypatch.setattr(sys, "argv", ["script.py"])
        return LightningCLI(args=arguments, **keywords)

    return command


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMS)
def test_what_fit_takes_is_searched_and_fit_takes_the_best(run, fit, tmp_path, monkeypatch, name):
    form = FORMS[name]
    monkeypatch.chdir(tmp_path)
    for key, value in form.environment.items():
        monkeypatch.setenv(key, value)
    Path("trainer.yaml").write_text(json.dumps(FAST))
    Path("model.yaml").write_text(json.dumps({**NET, "init_args": {"width": 3}}))
    for file, content in form.files.items():
        Path(file).write_text(yaml.safe_dump(content))
    configs = [argument for file in form.files for argument in ("--config", file)]
    plain = fit([*configs, "fit", *form.flags] if form.before else ["fit", *configs, *form.flags])

    # The same files, with one more section.
    search = {"monitor": "val_loss", "trials": 2, "executor": "inline", "root": "study", "space": form.space}
    last = list(form.files)[-1] if form.files else "search.yaml"
    Path(last).write_text(yaml.safe_dump({**form.files.get(last, {}), "search": search}))
    searched = run(None, "search", *(list(form.files) or [last]), *form.flags)
    assert searched.code == 0, searched.err
    trials = Study("study").trials
    assert [trial.state for trial in trials] == ["complete", "complete"], trials

    Path("best.yaml").write_text(run(None, "best", "study").out)
    best = fit(["fit", "--config", "best.yaml"])
    again = best.config["fit"]
    hparams = Study("study").best.hparams
    for key, value in hparams.items():
        keys = locate(key, again.as_dict(), {}, dict.fromkeys(again.as_dict(), ()))
        assert again[".".join(keys)] == value
    assert again["seed_everything"] == Study("study").best.seed
    # Nothing else has changed.
    for section in ("model", "data", "trainer", "optimizer", "lr_scheduler"):
        changed, as_it_was = again.as_dict().get(section), plain.config["fit"].as_dict().get(section)
        # Where a section has a file of its own, the parser notes it.
        drop(as_it_was, ("__path__",))
        for key in hparams:
            first, *keys = locate(key, again.as_dict(), {}, dict.fromkeys(again.as_dict(), ()))
            if first == section:
                drop(changed, tuple(keys)), drop(as_it_was, tuple(keys))
        assert changed == as_it_was
    assert again["trainer"].max_epochs == plain.config["fit"]["trainer"].max_epochs
    assert list(map(type, best.trainer.callbacks)) == list(map(type, plain.trainer.callbacks))
    assert list(map(type, best.trainer.optimizers)) == list(map(type, plain.trainer.optimizers))


@pytest.mark.filterwarnings("ignore")
def test_what_fit_has_saved_is_a_config(run, fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(FORMS["an optimizer and a scheduler"].files["config.yaml"]))
    fit(["fit", "--config", "config.yaml"])
    (saved,) = Path("lightning_logs").rglob("config.yaml")
    search = {"monitor": "val_loss", "trials": 1, "executor": "inline", "root": "study", "space": {"optimizer.lr": LR}}
    Path("search.yaml").write_text(yaml.safe_dump({"search": search}))
    result = run(None, "search", str(saved), "-c", "search.yaml")
    assert result.code == 0, result.err


def test_an_optimizer_section_takes_the_place_of_the_modules_own(run, tmp_path, monkeypatch):
    config = dict(FORMS["an optimizer and a scheduler"].files["config.yaml"])
    search = {"monitor": "val_loss", "trials": 2, "executor": "inline", "root": "study"}
    search["space"] = {"optimizer.lr": LR, "lr_scheduler.gamma": LR}
    for fuse in ("never", "always"):
        result = run({**config, "search": {**search, "root": fuse}}, "search", "config.yaml", "--fuse", fuse)
        assert result.code == 0, result.err
    for number, trial in enumerate(Study("never").trials):
        last = {fuse: Path(fuse, "trials", f"{number:06}", "checkpoints") for fuse in ("never", "always")}
        alone, fused = (torch.load(folder / "last.ckpt", weights_only=False) for folder in last.values())
        (group,) = alone["optimizer_states"][0]["param_groups"]
        rate, gamma = trial.hparams["optimizer.lr"], trial.hparams["lr_scheduler.gamma"]
        assert (group["initial_lr"], group["lr"]) == pytest.approx((rate, rate * gamma))
        for name, weights in alone["state_dict"].items():
            torch.testing.assert_close(fused["state_dict"][name], weights)
        assert fused["lr_schedulers"][0]["_last_lr"] == pytest.approx(alone["lr_schedulers"][0]["_last_lr"])
    assert "configure_optimizers" in vars(tests.cli.lit.Net)
