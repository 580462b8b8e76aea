"""Bad configs and arguments: exit code 2 and one clear line, before anything is trained or written."""

from __future__ import annotations

import pytest
import torch

LR = ("search", "space", "model.lr")
GONE = object()
DIGITS = "examples.digits.LitDigits"
STOPPING = "lightning.pytorch.callbacks.EarlyStopping"

# What is changed (path and value), and words that the one line must hold.
BAD = {
    "an unknown section": (("serach",), {}, ["section 'serach'", "did you mean 'search'?"]),
    "a subcommand without sections": (("fit",), None, ["config.yaml: fit needs a mapping of sections", "got None"]),
    "a subcommand that is a number": (("fit",), 3, ["config.yaml: fit needs a mapping of sections", "got 3"]),
    "no model": (("model",), GONE, ["model needs a class_path"]),
    "a model that cannot be imported": (
        ("model", "class_path"),
        "examples.digits.LitDigit",
        ["'examples.digits.LitDigit'", "LitDigit"],
    ),
    "a module that cannot be imported": (("model", "class_path"), "nowhere.Lit", ["'nowhere.Lit' cannot be imported"]),
    "a class path without dots": (("model", "class_path"), "LitDigit", ["dotted path", "'LitDigit'"]),
    "a relative class path": (("model", "class_path"), ".examples.digits", ["dotted path", "'.examples.digits'"]),
    "a class that a class lacks": (("model", "class_path"), "examples.digits.LitDigits.Inner", ["'Inner'"]),
    "arguments in a list": (("model", "init_args"), [1], ["model.init_args needs a mapping", "[1]"]),
    "arguments in a word": (("model", "init_args"), "hidden", ["model.init_args needs a mapping", "'hidden'"]),
    "no arguments at all": (("model", "init_args"), None, ["model.init_args needs a mapping", "leave it out"]),
    "a misspelt key beside class_path": (
        ("model",),
        {"class_path": DIGITS, "init_arg": {"hidden": 3}},
        ["model.init_arg", "did you mean 'init_args'?"],
    ),
    "an argument beside class_path": (("model", "hidden"), 3, ["model.hidden", "write it under model.init_args"]),
    "dict_kwargs for a class without **kwargs": (
        ("model", "dict_kwargs"),
        {"hidden": 3},
        ["model.dict_kwargs.hidden", "no **kwargs", "model.init_args"],
    ),
    "a data class as model": (("model", "class_path"), "examples.digits.DigitsData", ["needs to be a LightningModule"]),
    "a model of a script that names its class": (
        ("model",),
        {"hidden": 16, "lr": 0.1},
        [
            "config.yaml: model has hidden, lr, but no class_path: add class_path: my_package.MyClass",
            "lightning_hp.cli.search(MyCLI, MyModel, MyData)",
        ],
    ),
    "data of a script that names their class": (
        ("data",),
        {"batch_size": 32},
        ["config.yaml: data has batch_size, but no class_path: add class_path"],
    ),
    "a misspelt argument of the model": (("model", "init_args"), {"hiden": 3}, ["hiden"]),
    "an argument of the wrong type": (("model", "init_args"), {"hidden": "many"}, ["hidden", "many"]),
    "an unknown data class": (("data", "class_path"), "examples.digits.Data", ["'examples.digits.Data'"]),
    "an unknown argument of Trainer": (("trainer", "max_epoch"), 3, ["max_epoch"]),
    "a Trainer argument of the wrong type": (("trainer", "max_epochs"), "ten", ["max_epochs", "ten"]),
    "a callback that does not exist": (("trainer", "callbacks"), [{"class_path": "nowhere.Stop"}], ["nowhere.Stop"]),
    "a callback that is a number": (("trainer", "callbacks"), [3], ["trainer.callbacks[0] needs a class_path", "got 3"]),
    "a misspelt argument of a callback": (
        ("trainer", "callbacks"),
        [{"class_path": STOPPING, "init_args": {"monitorr": "val_acc"}}],
        ["trainer.callbacks[0].init_args.monitorr", "did you mean 'monitor'?"],
    ),
    "a callback without what it requires": (
        ("trainer", "callbacks"),
        [{"class_path": STOPPING}],
        [STOPPING, "required: monitor"],
    ),
    "a type that no union has": (
        ("trainer", "limit_val_batches"),
        "x",
        ["trainer.limit_val_batches: Expected int or float, got x"],
    ),
    "several devices": (("trainer", "devices"), 2, ["trainer devices above 1", "executor='processes'"]),
    "a trainer that is no mapping": (("trainer",), [1], ["trainer needs a mapping", "[1]"]),
    "a seed in LightningCLI's place that is none": (("seed_everything",), "x", ["seed_everything: Expected", "got x"]),
    "a checkpoint to start from": (("ckpt_path",), "x.ckpt", ["'ckpt_path'", "each trial starts anew"]),
    "an optimizer that does not exist": (
        ("optimizer",),
        {"class_path": "torch.optim.SGDD"},
        ["optimizer.class_path 'torch.optim.SGDD' cannot be imported", "did you mean 'SGD'?"],
    ),
    "a misspelt argument of an optimizer": (
        ("optimizer",),
        {"class_path": "torch.optim.SGD", "init_args": {"lrr": 0.1}},
        ["optimizer.init_args.lrr", "did you mean 'lr'?"],
    ),
    "an optimizer's name that matches no argument": (
        ("search", "space", "optimizer.lr"),
        {"scale": "log", "low": 0.1, "high": 1},
        ["search.space.optimizer.lr needs a section optimizer, which is missing"],
    ),
    "no search": (("search",), GONE, ["section search is missing"]),
    "an empty search": (("search",), None, ["section search is missing"]),
    "a root that is a number": (("search", "root"), 3, ["search.root needs the name of a folder, got 3"]),
    "a root that is nothing": (("search", "root"), None, ["search.root needs the name of a folder, got None"]),
    "a root that is empty": (("search", "root"), "", ["search.root needs the name of a folder, got ''"]),
    "verbose in words": (("search", "verbose"), "maybe", ["search.verbose needs true or false", "'maybe'"]),
    "a strategy that is a number": (
        ("search", "strategy"),
        3,
        ["search.strategy needs one of coarse-to-fine, quasi, random, grid, optuna, got 3"],
    ),
    "a time without end": (("search", "max_time"), "99999999999:00:00:00", ["max_time", "leave it out"]),
    "a bound beyond all floats": (LR, {"scale": "int", "low": 1, "high": 10**400}, ["search.space.model.lr", "308 digits"]),
    "a bound in words": ((*LR, "high"), "ten", ["search.space.model.lr: Log needs finite numbers, got high='ten'\n"]),
    "a space for data that are not there": (("data",), GONE, ["search.space.data.batch_size", "section data"]),
    "an unknown setting": (("search", "trial"), 3, ["search.trial", "did you mean 'trials'?"]),
    "a search that is no mapping": (("search",), [1], ["search needs a mapping", "[1]"]),
    "no space": (("search", "space"), GONE, ["search.space is missing"]),
    "an empty space": (("search", "space"), {}, ["space is empty"]),
    "no monitor": (("search", "monitor"), GONE, ["search.monitor is missing"]),
    "several monitors": (("search", "monitor"), ["val_acc", "val_loss"], ["a search has one objective"]),
    "an empty monitor": (("search", "monitor"), "", ["monitor needs the name of a logged metric"]),
    "a mode that is none": (("search", "mode"), "maximum", ["mode", "'maximum'"]),
    "no end": (("search", "trials"), GONE, ["no end", "trials", "max_time"]),
    "no trials": (("search", "trials"), 0, ["trials", "got 0"]),
    "trials in words": (("search", "trials"), "many", ["trials", "'many'"]),
    "a time that is none": (("search", "max_time"), "1 hour", ["max_time", "'1 hour'"]),
    "an unknown pruner": (("search", "pruner"), "halfing", ["search.pruner='halfing'", "did you mean 'halving'?"]),
    "a pruner that is a number": (("search", "pruner"), 3, ["search.pruner=3 is not one of halving, asha, progressive"]),
    "a pruner without a name": (
        ("search", "pruner"),
        {"first": 2},
        ["search.pruner.name is missing: one of halving, asha, progressive"],
    ),
    "a misspelt argument of a pruner": (
        ("search", "pruner"),
        {"name": "asha", "frist": 2},
        ["search.pruner.frist is not an argument of asha", "did you mean 'first'?"],
    ),
    "a pruner's factor of 1": (("search", "pruner"), {"name": "asha", "factor": 1}, ["Asha(factor=)", "got 1"]),
    "a pruner for one epoch": (("search", "pruner"), "halving", ["trainer max_epochs=1"]),
    "an unknown strategy": (("search", "strategy"), "gird", ["'gird'", "did you mean 'grid'?"]),
    "points without a grid": (("search", "points"), 3, ["points", "grid"]),
    "an unknown executor": (("search", "executor"), "threads", ["'threads'", "inline"]),
    "a misspelt executor": (("search", "executor"), "rai", ["search.executor='rai'", "did you mean 'ray'?"]),
    "an executor that is nothing": (("search", "executor"), None, ["search.executor=None is not one of", "ray"]),
    "an executor without a name": (("search", "executor"), {"num_gpus": 1}, ["search.executor.name is missing: one of ray"]),
    "an executor's name that is none": (
        ("search", "executor"),
        {"name": "rai", "num_gpus": 1},
        ["search.executor.name='rai' is not one of ray", "did you mean 'ray'?"],
    ),
    "a misspelt argument of ray": (
        ("search", "executor"),
        {"name": "ray", "num_gpu": 1},
        ["search.executor.num_gpu is not an argument of ray", "did you mean 'num_gpus'?"],
    ),
    "an argument of ray for another executor": (
        ("search", "executor"),
        {"name": "processes", "num_gpus": 1},
        ["search.executor.num_gpus is for executor ray, got executor 'processes'"],
    ),
    "a share of GPUs in words": (
        ("search", "executor"),
        {"name": "ray", "num_gpus": "half"},
        ["search.executor.num_gpus needs a number of at least 0, got 'half'"],
    ),
    "a port alone for Ray's address": (
        ("search", "executor"),
        {"name": "ray", "address": 6379},
        ["search.executor.address needs 'auto', 'host:port' or None, got 6379"],
    ),
    "resources of Ray in a list": (
        ("search", "executor"),
        {"name": "ray", "resources": ["H100"]},
        ["search.executor.resources needs a dict, got ['H100']"],
    ),
    "a way to place jobs that Ray has not": (
        ("search", "executor"),
        {"name": "ray", "scheduling_strategy": "PACK"},
        ["search.executor.scheduling_strategy needs 'DEFAULT' or 'SPREAD', got 'PACK'"],
    ),
    "a flag's name in the config": (("search", "ray_address"), "auto", ["search.ray_address is not a setting"]),
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
        ["search.space.lr", "search.space.model.lr", "same argument"],
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
        assert words in f"{line}\n"
    assert {path.name for path in tmp_path.iterdir()} <= {"config.yaml"}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_config_is_refused_in_one_line(run, config, tmp_path, case):
    path, value, told = BAD[case]
    assert_refused(run(changed(config, path, value), "lint", "config.yaml"), ["config.yaml", *told], tmp_path)


# One of each place that refuses: the files, their parser, the settings, the search that is made, its space's ends. What lint
# refuses, search does as well: both make the same search before they do anything.
@pytest.mark.parametrize(
    "case",
    [
        "an unknown section",
        "no model",
        "a misspelt argument of a callback",
        "an argument of the wrong type",
        "a negative seed",
        "an unknown scale",
        "several devices",
        "values that the model's type refuses",
    ],
)
def test_search_refuses_what_lint_refuses(run, config, tmp_path, case):
    path, value, told = BAD[case]
    assert_refused(run(changed(config, path, value), "search", "config.yaml"), ["config.yaml", *told], tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ["config.yaml", "cannot be read", "No such file"]),
        ("model: [", ["config.yaml", "not valid YAML"]),
        ("- 1", ["needs the sections model and search", "[1]"]),
        ("", ["needs the sections model and search"]),
        ("search:\n  seed: 1\n  seed: 2\n", ["'seed' stands twice in line 3"]),
        ("search:\n  seed: [1\nmodel: 2\n", ["not valid YAML", "expected ',' or ']'", "in line 3"]),
        ("search: {seed: " + "9" * 5000 + "}", ["not valid YAML"]),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(run, tmp_path, content, told):
    assert_refused(run(content, "search", "config.yaml"), told, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["search"], ["CONFIG"]),
        (["serach", "config.yaml"], ["serach"]),
        (["search", "config.yaml", "--trails", "3"], ["lightning-hp search:", "--trails", "did you mean '--trials'?"]),
        (["search", "config.yaml", "--tri", "3"], ["lightning-hp search:", "--tri"]),
        (["search", "config.yaml", "--trials"], ["--trials: expected one argument"]),
        (["search", "config.yaml", "--root"], ["--root: expected one argument"]),
        (["search", "config.yaml", "--root="], ["search.root", "got ''"]),
        (["search", "config.yaml", "--space", "{unclosed"], ["--space", "'{unclosed' is not valid YAML"]),
        (["search", "config.yaml", "--babysit", "maybe"], ["lightning-hp search:", "maybe"]),
        (["babysit", "config.yaml", "--trials", "3"], ["lightning-hp babysit:", "--trials"]),
        (["babysit", "config.yaml", "--seed", "x"], ["search.seed", "'x'"]),
        (["babysit", "config.yaml", "--seed", "-1"], ["search.seed", "-1"]),
        (["babysit", "config.yaml", "--seed", "1.5"], ["search.seed", "1.5"]),
        (["babysit", "config.yaml", "--seed", "4294967296"], ["search.seed", "up to 4294967295, got 4294967296"]),
        (["babysit", "config.yaml", "--verbose=maybe"], ["search.verbose", "'maybe'"]),
        (["babysit", "config.yaml", "--root", "config.yaml"], ["search.root", "config.yaml cannot be made: File exists"]),
        (["show", "nowhere", "--al"], ["lightning-hp show:", "--al", "did you mean '--all'?"]),
        (["search", "config.yaml", "--trials", "x"], ["trials", "'x'"]),
        (["search", "config.yaml", "--seed", "1.5"], ["seed", "1.5"]),
        (["search", "config.yaml", "--mode", "up"], ["mode", "'up'"]),
        (
            ["search", "config.yaml", "--model.init_args.hiden", "3"],
            ["hiden 3: model.init_args.hiden is not an argument of examples.digits.LitDigits (did you mean 'hidden'?)\n"],
        ),
        (["search", "config.yaml", "--model.hiden", "3"], ["(did you mean 'hidden'?)\n"]),
        (["search", "config.yaml", "--data.batch", "3"], ["data.init_args.batch is not an argument of", "'batch_size'"]),
        (["search", "config.yaml", "--mode", "minimize"], ["mode", "(did you mean 'min'?)"]),
        (["search", "config.yaml", "--strategy", "tpe"], ["config.yaml: strategy='tpe'", "'optuna.samplers.TPESampler'"]),
        (
            ["search", "config.yaml", "--pruner", "median"],
            ["config.yaml: search.pruner needs one of halving, asha, progressive"],
        ),
        (["search", "config.yaml", "--executor", "{name: ray"], ["--executor", "'{name: ray' is not valid YAML"]),
        (["search", "config.yaml", "--executor", "{name: ray, gpus: 1}"], ["config.yaml: search.executor.gpus is not an"]),
        (
            ["search", "config.yaml", "--ray-address", "auto"],
            ["config.yaml: --ray-address is for executor ray, got executor 'inline': add --executor ray"],
        ),
        (["search", "config.yaml", "--ray-address", "auto", "--executor", "{name: processes}"], ["got executor 'processes'"]),
        (
            ["search", "config.yaml", "--executor", "ray", "--ray-address", ""],
            ["search.executor.address needs 'auto'", "got ''"],
        ),
        (["babysit", "config.yaml", "--ray-address", "auto"], ["lightning-hp babysit:", "unknown argument --ray-address"]),
        (["babysit", "config.yaml", "--mode", "up"], ["mode", "'up'"]),
        (["search", "config.yaml", "--fuse", "no"], ["config.yaml: fuse=False", "did you mean 'never'?"]),
        (["show", "nowhere"], ["nowhere", "no study"]),
        ([], ["COMMAND"]),
    ],
)
def test_bad_arguments_are_refused_in_one_line(run, config, tmp_path, arguments, told):
    assert_refused(run(config, *arguments), told, tmp_path)


def test_the_config_that_all_these_spoil_is_good(run, config):
    result = run(config, "lint", "config.yaml")
    assert (result.code, result.out, result.err) == (0, "config.yaml: nothing to complain about\n", "")


@pytest.mark.parametrize(
    "case",
    [
        "an argument of Babysitter that is none",
        "a space that is none",
        "a seed that is none",
        "verbose in words",
        "a root that is a number",
        "no model",
        "an argument of the wrong type",
        "an unknown argument of Trainer",
    ],
)
def test_babysit_refuses_what_search_refuses(run, config, tmp_path, case):
    path, value, told = {
        **BAD,
        "an argument of Babysitter that is none": BAD["an unknown argument of Babysitter"],
        "a space that is none": BAD["an unknown scale"],
        "a seed that is none": BAD["a negative seed"],
    }[case]
    assert_refused(run(changed(config, path, value), "babysit", "config.yaml"), ["config.yaml", *told], tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_babysit_on_hardware_that_is_not_there_is_refused_in_one_line(run, config):
    config["trainer"]["accelerator"] = "gpu"
    result = run(config, "babysit", "config.yaml")
    (line,) = result.err.splitlines()
    assert result.code == 2
    assert line.startswith("lightning-hp: config.yaml: trainer: ")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = (\n", ["SyntaxError: '(' was never closed", "line 1"]),
        ("\nraise RuntimeError('no disk')\n", ["RuntimeError: no disk", "bad_module.py, line 2"]),
        ("y = x\n", ["NameError: name 'x' is not defined", "bad_module.py, line 1"]),
        ("import sys\nsys.exit(3)\n", ["SystemExit: 3", "bad_module.py, line 2"]),
        ("import no_such_module\n", ["No module named 'no_such_module'", "bad_module.py, line 1"]),
    ],
)
@pytest.mark.parametrize("place", ["model", "callback"])
def test_a_module_that_cannot_be_imported_is_named_with_the_line(run, config, tmp_path, monkeypatch, source, told, place):
    (tmp_path / "bad_module.py").write_text(source)
    named = {"class_path": "bad_module.Mine"}
    config = {**config, "model": named} if place == "model" else changed(config, ("trainer", "callbacks"), [named])
    result = run(config, "lint", "config.yaml")
    assert result.code == 2
    (line,) = result.err.splitlines()
    for words in ["class_path 'bad_module.Mine' cannot be imported", *told]:
        assert words in line


def test_what_a_config_says_for_other_subcommands_is_checked(run, config):
    search = config.pop("search")
    result = run({"fit": config, "test": {"trainer": {"max_epochs": "ten"}}, "search": search}, "lint", "config.yaml")
    assert (result.code, result.err) == (2, "lightning-hp: config.yaml: trainer.max_epochs: Expected int, got ten\n")
