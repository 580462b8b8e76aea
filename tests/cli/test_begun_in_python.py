"""The command with studies of searches that were begun in Python."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, Timer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger

from examples.digits import DigitsData
from lightning_hp import Choice, Log, ReverseLog, SearchLoop, Space, Study
from lightning_hp.cli.names import locate
from lightning_hp.study.config import write_config
from tests.cli.made_up import record_parabola
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


def made(root, **changes):
    """A finished study of made-up trials in a folder, whose config is like that of a search in Python."""
    space = Space({"lr": Log(0.01, 1.0)})
    record_parabola(root, space, "lr")
    config = {
        "model": {"class_path": "examples.digits.LitDigits"},
        "data": {"class_path": "examples.digits.DigitsData"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "search": {"monitor": "val_acc", "mode": "max", "trials": 40, "space": space.describe()},
    }
    write_config(root, {**config, **changes})
    return root


def test_best_says_what_is_to_be_filled_in_where_a_function_stood(run):
    trainer = {
        "max_epochs": 1,
        "callbacks": [lambda: Timer(), partial(EarlyStopping, "val_acc", patience=3), LearningRateMonitor],
        "logger": lambda: CSVLogger("logs"),
    }
    search(trainer=trainer, model=lambda lr: Perceptron(lr=lr), space={"lr": SPACE["lr"]}, trials=1)
    result = run(None, "best", "mine")
    assert result.code == 1
    told = "lightning-hp: model.class_path, trainer.callbacks[0], trainer.callbacks[1], trainer.logger: fill in "
    assert result.err.startswith(told)
    assert result.err.count("\n") == 1
    fill = "test_best_says_what_is_to_be_filled_in_where_a_function_stood.<locals>.<lambda>"
    for line in (
        f"  # class_path: {__name__}.{fill}",
        f"  # - {fill}",
        '  # - {"EarlyStopping": ["val_acc", {"patience": 3}]}',
        f"  # logger: {fill}",
    ):
        assert line in result.out.splitlines()
    config = yaml.safe_load(result.out)
    assert config["trainer"] == {"max_epochs": 1, "callbacks": ["LearningRateMonitor"]}
    assert list(config["model"]) == ["init_args"]


def test_best_keeps_a_class_of_the_script_for_a_command_line_there(run, tmp_path):
    root = made(tmp_path / "mine", model={"class_path": "__main__.Net"})
    result = run(None, "best", str(root))
    assert result.code == 0
    assert yaml.safe_load(result.out)["model"]["class_path"] == "__main__.Net"
    assert result.err.startswith("lightning-hp: model.class_path: a class of the script of the search: name its module")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"model": {"class_path": "__main__.Net"}}, "model.class_path"),
        ({"data": {"class_path": "mine.<lambda>"}}, "data.class_path"),
        ({"trainer": {"callbacks": ["mine.<locals>.<lambda>"]}}, "trainer.callbacks[0]"),
        ({"trainer": {"callbacks": ["Mine"], "logger": True}}, "trainer.callbacks[0]"),
    ],
)
def test_what_no_command_can_search_on_is_told_in_python(run, tmp_path, changes, place):
    root = made(tmp_path / "mine", **changes)
    python = f"SearchLoop(..., space=Study({str(root)!r}).zoom(), warm_start={str(root)!r})"
    shown = run(None, "show", str(root)).out
    assert f"in Python: {python}" in shown
    assert "lightning-hp search" not in shown
    result = run(None, "search", "--from", str(root), "--zoom")
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert line.endswith(f"here {place}: go on in Python, with {python}")


@pytest.mark.slow
def test_what_a_config_can_say_is_searched_on_by_command(run, tmp_path):
    root = made(tmp_path / "mine", trainer={"max_epochs": 1, "accelerator": "cpu", "callbacks": ["LearningRateMonitor"]})
    assert f"search it:       lightning-hp search --from {root} --zoom" in run(None, "show", str(root)).out
    result = run(None, "search", "--from", str(root), "--zoom", "--trials", "1")
    assert result.code == 0, result.err
