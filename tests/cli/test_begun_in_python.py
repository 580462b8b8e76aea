"""The command with studies of searches that were begun in Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lightning.pytorch.cli import LightningCLI

from examples.digits import DigitsData
from lightning_hp import Choice, Log, ReverseLog, SearchLoop, Study
from lightning_hp.cli.names import locate
from tests.perceptron import Perceptron

SPACE = {
    "optimizer": Choice("sgd", "adam"),
    "lr": Log(0.01, 0.1),
    "momentum": ReverseLog(0.5, 0.9).when(optimizer="sgd"),
}


def search(**changes):
    """Runs a search in ./mine, whose model has an argument that is called as a section of LightningCLI."""
    arguments = {
        "data": DigitsData,
        "space": SPACE,
        "monitor": "val_acc",
        "mode": "max",
        "trials": 2,
        "strategy": "quasi",
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "executor": "inline",
        "root_dir": "mine",
        "progress": False,
    }
    return SearchLoop(changes.pop("model", Perceptron), **{**arguments, **changes}).run()


@pytest.mark.filterwarnings("ignore")
def test_an_argument_called_as_a_section_stays_the_models(run):
    study = search()
    assert run(None, "rerun", "mine", "0").out.startswith("trial 0: the same to the last bit")
    for trial in study.trials:
        printed = run(None, "best", "mine", str(trial.number)).out
        assert yaml.safe_load(printed)["model"]["init_args"] == trial.hparams
        Path("best.yaml").write_text(printed)
        assert LightningCLI(args=["--config", "best.yaml"], run=False).model.hparams["optimizer"] == trial.hparams["optimizer"]
    for arguments in ([], ["--zoom"]):
        result = run(None, "search", "--from", "mine", *arguments, "--trials", "1", "--root", f"next{len(arguments)}")
        assert result.code == 0, result.err


def test_a_name_alone_is_a_sections_where_the_config_has_it_or_the_model_takes_no_such():
    sections = {"model": [], "optimizer": [], "lr_scheduler": [], "data": [], "trainer": []}
    model = {"class_path": "tests.perceptron.Perceptron"}
    assert locate("optimizer", {"model": model}, {}, sections) == ("model", "init_args", "optimizer")
    assert locate("optimizer", {"model": model, "optimizer": None}, {}, sections) == ("optimizer",)
    assert locate("lr_scheduler", {"model": model}, {}, sections) == ("lr_scheduler",)
    assert locate("model", {"model": model}, {}, sections) == ("model",)


@pytest.mark.filterwarnings("ignore")
def test_a_section_that_a_config_has_is_searched_whatever_the_model_takes(run, config):
    config["model"] = {"class_path": "tests.perceptron.Perceptron"}
    config["optimizer"] = {"class_path": "torch.optim.Adam"}
    config["search"]["space"] = {"optimizer": {"scale": "choice", "values": ["torch.optim.SGD"]}}
    config["search"]["space"]["optimizer.lr"] = {"scale": "log", "low": 0.01, "high": 0.1}
    assert run(config, "search", "config.yaml", "--trials", "1").code == 0
    best = Study("study").best
    assert yaml.safe_load(run(None, "best", "study").out)["optimizer"] == {
        "class_path": "torch.optim.SGD",
        "init_args": {"lr": best.hparams["optimizer.lr"]},
    }
