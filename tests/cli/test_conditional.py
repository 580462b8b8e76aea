"""Hyperparameters that exist only with others, and constraints, as they are written in a config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lightning_hp import Study
from tests.perceptron import bright, small

SPACE = """
model.lr: {scale: log, low: 1e-3, high: 1e-1}
model.optimizer: {scale: choice, values: [sgd, adam]}
model.momentum: {scale: reverse_log, low: 0.5, high: 0.95, when: {model.optimizer: sgd}}
model.beta1: {scale: reverse_log, low: 0.8, high: 0.95, when: {model.optimizer: [adam]}}
model.layers: {scale: int, low: 1, high: 2}
model.units: {scale: int, low: 16, high: 64, per: model.layers}
"""


@pytest.fixture
def config(config):
    """A config of such a search."""
    config["model"] = {"class_path": "tests.perceptron.Perceptron"}
    space = {name: {key: each[key] for key in each} for name, each in yaml.safe_load(SPACE).items()}
    space["model.lr"] |= {"low": 0.001, "high": 0.1}
    config["search"] |= {"space": space, "trials": 8, "constraint": "tests.perceptron.small"}
    return config


def test_a_search_of_a_config_proposes_what_exists_and_goes_on_from_there(run, config):
    result = run(config, "search", "config.yaml")
    assert result.code == 0, result.err
    trials = Study("study").trials
    assert [trial.state for trial in trials] == ["complete"] * 8
    for trial in trials:
        other = "model.momentum" if trial.hparams["model.optimizer"] == "sgd" else "model.beta1"
        assert trial.hparams.keys() == {"model.lr", "model.optimizer", "model.layers", "model.units", other}
        assert len(trial.hparams["model.units"]) == trial.hparams["model.layers"]
        assert small(trial.hparams)
    assert run(config, "search", "config.yaml", "--trials", "9").code == 0
    assert [trial.hparams for trial in Study("study").trials[:8]] == [trial.hparams for trial in trials]


def test_show_leaves_the_cell_of_what_does_not_exist_empty(run, config):
    run(config, "search", "config.yaml")
    result = run(None, "show", "study")
    assert "None" not in result.out
    header = next(line for line in result.out.splitlines() if "optimizer" in line)
    assert [name in header for name in ("momentum", "beta1", "layers", "units")] == [True] * 4
    for trial in Study("study").trials:
        units = f"[{', '.join(map(str, trial.hparams['model.units']))}]"
        row = next(line for line in result.out.splitlines() if line.split()[:1] == [str(trial.number)])
        assert row.rstrip().endswith(units)
        # Trial, value, lr, optimizer, one of momentum and beta1, layers and the list.
        assert len(row.split()) == 6 + len(units.split())
    plain = json.loads(run(None, "show", "study", "--json").out)
    assert plain["study"]["constraint"] == "small"
    assert plain["trials"][0]["hparams"] == Study("study").trials[0].hparams


def test_a_search_from_another_keeps_conditions_and_constraint(run, config):
    run(config, "search", "config.yaml")
    result = run(None, "search", "--from", "study", "--zoom", "--trials", "1", "--root", "next")
    assert result.code == 0, result.err
    asked = Study("next").asked
    assert asked["space"]["model.units"]["per"] == "model.layers"
    assert asked["constraint"] == "small"


def test_the_constraint_is_a_flag(run, config):
    del config["search"]["constraint"]
    result = run(config, "search", "config.yaml", "--constraint", "tests.perceptron.small", "--trials", "1")
    assert result.code == 0, result.err
    assert Study("study").asked["constraint"] == "small"


@pytest.mark.parametrize(
    ("constraint", "told"),
    [
        ("tests.perceptron.smal", "search.constraint 'tests.perceptron.smal' cannot be imported"),
        ("small", "search.constraint needs a dotted path, such as my_module.small_enough, got 'small'"),
        (3, "search.constraint needs the path of a function, such as my_module.small_enough, got 3"),
        ("tests.perceptron.__doc__", "needs to be a function of hyperparameters"),
        ("builtins.len", "constraint len needs to return True or False, got 5"),
    ],
)
def test_a_constraint_that_is_none_is_told(run, config, constraint, told):
    config["search"]["constraint"] = constraint
    result = run(config, "search", "config.yaml")
    assert result.code == 2
    assert told in result.err
    assert not Path("study").exists()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (
            "model.momentum",
            {"when": {"optimizer": "sgd"}},
            "when 'optimizer' is not in the space (did you mean",
        ),
        ("model.momentum", {"when": {"model.optimizer": "sdg"}}, "is never 'sdg', but one of sgd, adam (did you mean 'sgd'?)"),
        ("model.units", {"per": "model.lr"}, "per 'model.lr' needs whole numbers"),
        ("model.units", {"per": "model.units"}, "per 'model.units' needs a single value"),
    ],
)
def test_a_condition_that_cannot_be_is_told(run, config, name, change, told):
    config["search"]["space"][name] |= change
    result = run(config, "lint", "config.yaml")
    assert result.code == 2
    assert told in result.err


def test_a_search_in_python_writes_its_constraint_as_a_config_has_it(run, search):
    search(constraint=bright, trials=1, root_dir=Path("python").absolute()).run()
    assert yaml.safe_load(Path("python/config.yaml").read_text())["search"]["constraint"] == "tests.perceptron.bright"
