"""Bad configs and arguments: exit code 2 and one clear line, before anything is trained or written."""

from __future__ import annotations

import pytest

LR = ("search", "space", "model.lr")
GONE = object()

# What is changed (path and value), and words that the one line must hold.
BAD = {
    "an unknown section": (("serach",), {}, ["section 'serach'", "did you mean 'search'?"]),
    "no model": (("model",), GONE, ["model needs a class_path"]),
    "a model that cannot be imported": (
        ("model", "class_path"),
        "examples.digits.LitDigit",
        ["'examples.digits.LitDigit'", "LitDigit"],
    ),
    "a module that cannot be imported": (("model", "class_path"), "nowhere.Lit", ["'nowhere.Lit' cannot be imported"]),
    "a class path without dots": (("model", "class_path"), "LitDigits", ["dotted path", "'LitDigits'"]),
    "a data class as model": (("model", "class_path"), "examples.digits.DigitsData", ["needs to be a LightningModule"]),
    "a misspelt argument of the model": (("model", "init_args"), {"hiden": 3}, ["hiden"]),
    "an argument of the wrong type": (("model", "init_args"), {"hidden": "many"}, ["hidden", "many"]),
    "an unknown data class": (("data", "class_path"), "examples.digits.Data", ["'examples.digits.Data'"]),
    "an unknown argument of Trainer": (("trainer", "max_epoch"), 3, ["max_epoch"]),
    "a Trainer argument of the wrong type": (("trainer", "max_epochs"), "ten", ["max_epochs", "ten"]),
    "a callback that does not exist": (("trainer", "callbacks"), [{"class_path": "nowhere.Stop"}], ["nowhere.Stop"]),
    "several devices": (("trainer", "devices"), 2, ["devices", "got 2"]),
    "a trainer that is no mapping": (("trainer",), [1], ["trainer needs a mapping", "[1]"]),
    "an unknown setting": (("search", "trial"), 3, ["search.trial", "did you mean 'trials'?"]),
    "a search that is no mapping": (("search",), [1], ["search needs a mapping", "[1]"]),
    "no space": (("search", "space"), GONE, ["search.space is missing"]),
    "an empty space": (("search", "space"), {}, ["space is empty"]),
    "no monitor": (("search", "monitor"), GONE, ["search.monitor is missing"]),
    "an empty monitor": (("search", "monitor"), "", ["monitor needs the name of a logged metric"]),
    "a mode that is none": (("search", "mode"), "maximum", ["mode", "'maximum'"]),
    "no end": (("search", "trials"), GONE, ["no end", "trials", "max_time"]),
    "no trials": (("search", "trials"), 0, ["trials", "got 0"]),
    "trials in words": (("search", "trials"), "many", ["trials", "'many'"]),
    "a time that is none": (("search", "max_time"), "1 hour", ["max_time", "'1 hour'"]),
    "an unknown strategy": (("search", "strategy"), "gird", ["'gird'", "did you mean 'grid'?"]),
    "points without a grid": (("search", "points"), 3, ["points", "grid"]),
    "an unknown executor": (("search", "executor"), "threads", ["'threads'", "inline"]),
    "a negative seed": (("search", "seed"), -1, ["seed", "-1"]),
    "babysit that is no flag": (("search", "babysit"), "maybe", ["babysit", "'maybe'"]),
    "an unknown argument of Babysitter": (
        ("search", "babysit"),
        {"patient": 3},
        ["babysit.patient", "did you mean 'patience'?"],
    ),
    "a babysitter's factor above 1": (("search", "babysit"), {"factor": 2.0}, ["factor", "2.0"]),
    "an unknown scale": ((*LR, "scale"), "logarithmic", ["model.lr", "'logarithmic'", "log"]),
    "a scale without bounds": (LR, {"scale": "log"}, ["model.lr", "high and low", "nothing"]),
    "a number for a scale": (LR, 0.1, ["model.lr", "0.1"]),
    "bounds the wrong way": ((*LR, "low"), 2.0, ["model.lr", "low < high", "low=2.0"]),
    "log from zero": ((*LR, "low"), 0, ["model.lr", "0 < low", "Linear"]),
    "a bound that is text": ((*LR, "low"), "1e-4", ["model.lr", "low='1e-4'", "text"]),
    "reverse log up to 1": (LR, {"scale": "reverse_log", "low": 0.5, "high": 1}, ["model.lr", "high < 1", "0.999"]),
    "a choice of nothing": (LR, {"scale": "choice", "values": []}, ["model.lr", "at least one value"]),
    "a name that matches no argument": (
        ("search", "space", "model.lrr"),
        {"scale": "log", "low": 0.1, "high": 1},
        ["model.lrr", "'lr'"],
    ),
    "a data name that matches none": (
        ("search", "space", "data.batch"),
        {"scale": "int", "low": 1, "high": 2},
        ["data.batch", "batch_size"],
    ),
    "a trainer name that matches none": (
        ("search", "space", "trainer.clip"),
        {"scale": "int", "low": 1, "high": 2},
        ["trainer.clip"],
    ),
    "a name with a space in it": (
        ("search", "space", "model lr"),
        {"scale": "int", "low": 1, "high": 2},
        ["'model lr'", "names"],
    ),
    "the same argument twice": (
        ("search", "space", "lr"),
        {"scale": "log", "low": 0.1, "high": 1},
        ["'lr'", "'model.lr'", "same argument"],
    ),
    "values that the model's type refuses": (
        ("search", "space", "model.hidden"),
        {"scale": "linear", "low": 16.5, "high": 32.5},
        ["hidden", "16.5"],
    ),
}


def changed(config, path, value):
    *parents, last = path
    at = config
    for key in parents:
        at = at.setdefault(key, {})
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return config


def assert_refused(result, told, tmp_path):
    assert result.code == 2
    assert result.out == ""
    (line,) = result.err.splitlines()
    for words in told:
        assert words in line
    assert {path.name for path in tmp_path.iterdir()} <= {"config.yaml"}


@pytest.mark.parametrize("command", ["search", "lint"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_config_is_refused_in_one_line(run, config, tmp_path, case, command):
    path, value, told = BAD[case]
    result = run(changed(config, path, value), command, "config.yaml")
    assert_refused(result, ["config.yaml", *told], tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ["config.yaml", "cannot be read", "No such file"]),
        ("model: [", ["config.yaml", "not valid YAML"]),
        ("- 1", ["needs the sections model and search", "[1]"]),
        ("", ["needs the sections model and search"]),
        ("search:\n  seed: 1\n  seed: 2\n", ["'seed' stands twice"]),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(run, tmp_path, content, told):
    assert_refused(run(content, "search", "config.yaml"), told, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["search"], ["CONFIG"]),
        (["serach", "config.yaml"], ["serach"]),
        (["search", "config.yaml", "--trails", "3"], ["--trails"]),
        (["search", "config.yaml", "--trials", "x"], ["trials", "'x'"]),
        (["search", "config.yaml", "--seed", "1.5"], ["seed", "1.5"]),
        (["search", "config.yaml", "--mode", "up"], ["mode", "'up'"]),
        (["babysit", "config.yaml", "--mode", "up"], ["mode", "'up'"]),
        (["show", "nowhere"], ["nowhere", "no study"]),
        ([], ["COMMAND"]),
    ],
)
def test_bad_arguments_are_refused_in_one_line(run, config, tmp_path, arguments, told):
    assert_refused(run(config, *arguments), told, tmp_path)


def test_the_config_that_all_these_spoil_is_good(run, config):
    result = run(config, "lint", "config.yaml")
    assert (result.code, result.out, result.err) == (0, "config.yaml: nothing to complain about\n", "")
