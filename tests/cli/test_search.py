"""``lightning-hp search`` and ``show``: whole searches as a user types them."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from examples.digits import DigitsData, LitDigits
from lightning_hp import Choice, Grid, Log, SearchLoop, Study
from lightning_hp.advice import find
from lightning_hp.cli.settings import SETTINGS
from lightning_hp.tracking.images import LEAST_TRIALS

REPOSITORY = Path(__file__).parents[2]


def shown(run, root):
    return json.loads(run(None, "show", root, "--json").out)


def test_a_search_ends_with_the_leaderboard_the_checkpoint_and_the_way_to_look(run, config):
    result = run(config, "search", "config.yaml")
    assert result.code == 0
    best = Study("study").best
    lines = result.out.splitlines()
    assert lines[0] == "2 of 2 trials complete; best val_acc first (max)"
    assert f"best checkpoint: {Path('study').absolute() / best.checkpoint.relative_to(Path('study'))}" in lines
    assert best.checkpoint.is_file()
    assert f"curves:          tensorboard --logdir {Path('study').absolute()}" in lines
    assert [line.split(":")[0] for line in result.err.splitlines()] == ["[1/2] trial 0", "[2/2] trial 1"]


def test_what_the_trials_say_is_found_once_for_the_pictures_and_the_advice(run, config, monkeypatch):
    pytest.importorskip("matplotlib", reason="pip install 'lightning-hp[plots]'")
    looks = []
    monkeypatch.setattr("lightning_hp.study.study.find", lambda *given, **named: looks.append(given) or find(*given, **named))
    config["search"]["trials"] = LEAST_TRIALS
    result = run(config, "search", "config.yaml")
    assert (result.code, len(looks)) == (0, 1)
    assert list(Path("study/search").glob("*.pictures"))


def test_the_config_in_a_studys_folder_goes_on_with_it_wherever_that_is_now(run, config):
    del config["search"]["root"]
    run(config, "search", "config.yaml")
    Path("runs/config").rename("elsewhere")
    result = run(None, "search", "elsewhere/config.yaml", "--trials", "3")
    assert [line.split(":")[0] for line in result.err.splitlines()] == ["2 of 3 trials done; going on", "[3/3] trial 2"]
    assert len(Study("elsewhere").trials) == 3
    assert not Path("runs/config").exists()


def test_show_prints_the_leaderboard_best_first_and_what_failed(run, config):
    config["search"]["space"]["model.activation"] = {"scale": "choice", "values": ["relu", "none"]}
    config["search"]["trials"] = 8
    run(config, "search", "config.yaml")
    result = run(None, "show", "study")
    trials = Study("study").trials
    failed = [trial for trial in trials if trial.state == "failed"]
    assert 1 < len(failed) < 8
    assert f"{8 - len(failed)} of 8 trials complete" in result.out
    numbers = ", ".join(str(trial.number) for trial in failed)
    assert f"{len(failed)} trials failed: KeyError: 'none' ({numbers})" in result.out
    rows = [line.split() for line in result.out.splitlines() if line.strip()[:1].isdigit() and "trials" not in line]
    assert [int(row[0]) for row in rows] == [trial.number for trial in Study("study").leaderboard()]


def test_show_as_json_is_the_documented_form(run, config):
    run(config, "search", "config.yaml")
    plain = shown(run, "study")
    assert list(plain) == ["study", "best", "trials", "advice", "importance", "next_space"]
    assert plain["study"]["monitor"] == "val_acc"
    assert plain["best"] == Study("study").best.number
    for trial in plain["trials"]:
        keys = ["number", "state", "value", "hparams", "seed", "epochs", "metrics", "reason", "checkpoint"]
        assert list(trial) == keys
        assert trial["value"] == max(trial["metrics"]["val_acc"])
        assert list(trial["hparams"]) == ["model.lr", "data.batch_size"]


def test_the_same_search_in_two_folders_is_the_same(run, config):
    run(config, "search", "config.yaml", "--root", "one", "--seed", "1")
    run(config, "search", "config.yaml", "--root", "two", "--seed", "1")
    run(config, "search", "config.yaml", "--root", "three", "--seed", "2")
    one, two, three = (shown(run, root)["trials"] for root in ("one", "two", "three"))
    for first, second in zip(one, two, strict=True):
        first.pop("checkpoint"), second.pop("checkpoint")
        assert first == second
    assert [trial["hparams"] for trial in three] != [trial["hparams"] for trial in one]


def test_again_it_runs_nothing_and_with_more_trials_it_goes_on(run, config):
    run(config, "search", "config.yaml")
    before = shown(run, "study")["trials"]
    again = run(config, "search", "config.yaml")
    assert (again.code, again.err) == (0, "nothing to run: all 2 trials are finished; ask for more with trials\n")
    more = run(config, "search", "config.yaml", "--trials", "3")
    assert [line.split(":")[0] for line in more.err.splitlines()] == ["2 of 3 trials done; going on", "[3/3] trial 2"]
    assert shown(run, "study")["trials"][:2] == before


def test_the_written_config_is_enough_to_go_on(run, config):
    run(config, "search", "config.yaml", "--seed", "5")
    again = run(None, "search", "study/config.yaml", "--trials", "3")
    assert again.code == 0
    assert [line.split(":")[0] for line in again.err.splitlines()] == ["2 of 3 trials done; going on", "[3/3] trial 2"]


def test_the_config_that_a_script_has_written_is_enough_to_go_on_with_the_command(run, tmp_path):
    arguments = {"data": DigitsData, "monitor": "val_acc", "mode": "max", "trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    space = {"lr": Log(1e-2, 1.0), "activation": Choice("relu", "tanh")}
    model = functools.partial(LitDigits, hidden=16)
    SearchLoop(
        model, space=space, trials=2, strategy=Grid(2), babysit=True, executor="inline", root_dir="study", **arguments
    ).run()
    again = run(None, "search", "study/config.yaml", "--trials", "3", "--executor", "inline")
    assert (again.code, [line.split(":")[0] for line in again.err.splitlines()][-1]) == (0, "[3/3] trial 2")


def test_a_changed_search_is_refused_in_one_line(run, config):
    run(config, "search", "config.yaml")
    result = run(config, "search", "config.yaml", "--seed", "9")
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert "seed was 0, is 9" in line


def test_a_pruner_is_a_name_or_a_mapping_and_the_written_config_goes_on_with_it(run, config):
    config["trainer"]["max_epochs"] = 3
    config["search"] |= {"trials": 3, "pruner": {"name": "halving", "first": 2}}
    assert run(config, "search", "config.yaml").code == 0
    assert sorted((trial["state"], trial["epochs"]) for trial in shown(run, "study")["trials"]) == [
        ("complete", 3),
        ("pruned", 2),
        ("pruned", 2),
    ]
    again = run(None, "search", "study/config.yaml")
    assert (again.code, again.err.split(":")[0]) == (0, "nothing to run")
    config["search"]["root"] = "other"
    assert run(config, "search", "config.yaml", "--pruner", "halving").code == 0
    assert Study("other").asked["pruner"] == "halving"


def test_every_setting_is_a_flag(run, config):
    assert config["search"].keys() <= SETTINGS.keys()
    space = {"model.lr": {"scale": "log", "low": 0.1, "high": 0.5}}
    flags = {
        "monitor": "val_loss",
        "mode": "min",
        "trials": 1,
        "max_time": "00:00:05:00",
        "strategy": "grid",
        "points": 2,
        "pruner": "{name: asha, factor: 2}",
        "space": json.dumps(space),
        "constraint": "tests.perceptron.bright",
        "enqueue": "[{model.lr: 0.2}]",
        "warm_start": "earlier",
        "babysit": "{patience: 3}",
        "executor": "processes",
        "fuse": "never",
        "workers": 2,
        "jobs_per_device": 1,
        "retries": 1,
        "keep_checkpoints": 3,
        "keep_runs": 5,
        "trial_timeout": "00:00:05:00",
        "memory_limit": 8,
        "seed": 4,
        "root": "flags",
        "verbose": "false",
    }
    assert flags.keys() == SETTINGS.keys()
    objective = ["--monitor", "val_loss", "--mode", "min", "--root", "earlier", "--trials", "1", "--space", json.dumps(space)]
    assert run(config, "search", "config.yaml", *objective).code == 0
    arguments = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    config["trainer"]["max_epochs"] = 2
    assert run(config, "search", "config.yaml", *arguments).code == 0
    asked = Study("flags").asked
    assert asked["pruner"] == {"name": "asha", "factor": 2}
    kept = {"monitor": "val_loss", "mode": "min", "trials": 1, "max_time": 300.0, "seed": 4, "space": space}
    kept["constraint"] = "bright"
    assert kept.items() <= asked.items()
    assert (asked["strategy"], asked["points"], asked["babysit"]["patience"]) == ("grid", 2, 3)
    assert (asked["enqueue"], asked["warm_start"]) == ([{"model.lr": 0.2}], ["earlier", "1 trials"])
    assert Study("flags").best.hparams == {"model.lr": 0.2}


def test_the_printed_config_holds_all_that_can_be_set_and_is_the_same_search(run, config):
    printed = run(config, "search", "config.yaml", "--trials", "1", "--trainer.gradient_clip_val=0.5", "--print_config")
    assert (printed.code, printed.err) == (0, "")
    assert not Path("study").exists()
    whole = yaml.safe_load(printed.out)
    assert whole["model"]["init_args"]["momentum"] == 0.9
    assert "lr" not in whole["model"]["init_args"]
    assert (whole["trainer"]["gradient_clip_val"], whole["trainer"]["accumulate_grad_batches"]) == (0.5, 1)
    assert whole["search"].keys() == SETTINGS.keys()
    assert (whole["search"]["trials"], whole["search"]["strategy"]) == (1, "coarse-to-fine")
    assert run(printed.out, "search", "config.yaml").code == 0
    assert Study("study").best.hparams.keys() == config["search"]["space"].keys()


def test_the_seed_of_lightning_cli_is_the_searchs_unless_it_has_its_own(run, config):
    run({**config, "seed_everything": 7}, "search", "config.yaml", "--trials", "1")
    run({**config, "seed_everything": 7}, "search", "config.yaml", "--trials", "1", "--seed", "8", "--root", "other")
    run({**config, "seed_everything": True}, "search", "config.yaml", "--trials", "1", "--root", "any")
    assert [Study(root).asked["seed"] for root in ("study", "other", "any")] == [7, 8, 0]


def test_several_configs_are_one_of_which_the_last_has_the_last_word(run, config):
    Path("over.yaml").write_text(
        yaml.safe_dump({"search": {"trials": 1, "space": {"model.layers": {"scale": "choice", "values": [1]}}}})
    )
    result = run(config, "search", "config.yaml", "-c", "over.yaml")
    assert result.code == 0
    (trial,) = Study("study").trials
    assert trial.hparams.keys() == {*config["search"]["space"], "model.layers"}
    Path("bad.yaml").write_text(yaml.safe_dump({"trainer": {"max_epochs": "ten"}}))
    told = run(None, "search", "config.yaml", "bad.yaml", "over.yaml")
    assert (told.code, told.err) == (2, "lightning-hp: bad.yaml: trainer.max_epochs: Expected int, got ten\n")


def test_a_file_that_only_completes_another_is_named_where_it_is_wrong(run, config):
    for name, content, told in [
        (
            "model",
            {"init_args": {"hiden": 3}},
            "model.init_args.hiden is not an argument of examples.digits.LitDigits (did you mean 'hidden'?)",
        ),
        ("trainer", {"max_epoch": 3}, "trainer.max_epoch is not an argument of Trainer (did you mean 'max_epochs'?)"),
        ("search", {"trails": 3}, "search.trails is not a setting (did you mean 'trials'?)"),
        ("search", {"space": {"model.lr": {"scale": "log", "low": 0, "high": 1}}}, "search.space.model.lr: Log needs 0 < low"),
    ]:
        Path("over.yaml").write_text(yaml.safe_dump({name: content}))
        result = run(config, "lint", "config.yaml", "over.yaml")
        (line,) = result.err.splitlines()
        assert (result.code, line.startswith("lightning-hp: over.yaml: "), told in line) == (2, True, True), line


def test_best_prints_the_config_of_a_trial(run, config):
    run(config, "search", "config.yaml")
    study = Study("study")
    last = study.trials[1]
    printed = yaml.safe_load(run(None, "best", "study", "1").out)
    assert printed == {
        "seed_everything": last.seed,
        "model": {**config["model"], "init_args": {"hidden": 16, "lr": last.hparams["model.lr"]}},
        "data": {**config["data"], "init_args": {"batch_size": last.hparams["data.batch_size"]}},
        "trainer": config["trainer"],
    }
    best = study.best
    assert run(None, "best", "study").out.startswith(
        f"# Trial {best.number} of study: val_acc {best.value:.6g}\nseed_everything: "
    )
    for arguments, told in ([["study", "7"], "study has no trial 7"], [["nowhere"], "no study"]):
        refused = run(None, "best", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert told in refused.err


def test_a_strategy_may_have_arguments(run, config):
    config["search"]["strategy"] = {"name": "coarse-to-fine", "first": 4, "size": 12}
    assert run(config, "search", "config.yaml", "--trials", "1").code == 0
    assert Study("study").asked["strategy"] == {"name": "coarse-to-fine", "first": 4, "size": 12}
    assert run(config, "search", "config.yaml", "--strategy", "{name: coarse-to-fine, first: 4, size: 12}").code == 0
    told = run(config, "search", "config.yaml", "--strategy", "{name: coarse-to-fine, fist: 4}")
    assert (told.code, told.err.count("search.strategy.fist is not an argument of coarse-to-fine (did you mean 'first'?)")) == (
        2,
        1,
    )


def test_babysit_is_a_flag_without_a_value(run, config):
    assert run(config, "search", "config.yaml", "--babysit").code == 0
    assert Study("study").asked["babysit"]["patience"] == 5


def test_callbacks_and_loggers_of_a_config_are_made_anew_for_each_trial(run, config):
    config["trainer"]["max_epochs"] = 4
    stopping = {"monitor": "val_acc", "mode": "max", "patience": 1, "min_delta": 2.0}
    config["trainer"]["callbacks"] = [
        {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": stopping},
        {"class_path": "lightning.pytorch.callbacks.RichModelSummary"},
    ]
    config["trainer"]["logger"] = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "csv"}}
    assert run(config, "search", "config.yaml").code == 0
    assert [trial.epochs for trial in Study("study").trials] == [2, 2]
    assert len(list(Path("csv").rglob("metrics.csv"))) == 2


def test_how_many_runs_tensorboard_keeps_is_a_flag(run, config):
    assert run(config, "search", "config.yaml", "--keep-runs", "1").code == 0
    assert len(list(Path("study").glob("trials/*/events.out.tfevents.*"))) == 1


def test_a_monitor_that_is_never_logged_is_one_line(run, config):
    result = run(config, "search", "config.yaml", "--monitor", "val_accuracy")
    assert (result.code, result.out) == (2, "")
    line = result.err.splitlines()[-1]
    told = "lightning-hp: config.yaml: search.monitor='val_accuracy' is not logged by the module (did you mean 'val_acc'?)"
    assert line.startswith(told)
    assert "val_loss" in line


def test_five_failures_alike_end_it_with_the_traceback(run, config):
    config["search"]["space"]["model.activation"] = {"scale": "choice", "values": ["sigmoid"]}
    result = run(config, "search", "config.yaml", "--trials", "20")
    assert result.code == 1
    assert "the first 5 trials all failed in the same way: KeyError: 'sigmoid'" in result.err
    assert "Traceback (most recent call last)" in result.err
    assert len(Study("study").trials) == 5


def test_unwise_spaces_are_noted_and_searched(run, config):
    config["search"]["space"]["model.lr"] = {"scale": "linear", "low": 1e-4, "high": 1.0}
    result = run(config, "search", "config.yaml", "--trials", "1")
    assert result.code == 0
    assert result.err.startswith("note: search.space.model.lr: ")
    assert "use log" in result.err
    lint = run(config, "lint", "config.yaml")
    assert (lint.code, lint.err) == (0, "")
    assert "use log" in lint.out


def test_modules_beside_the_config_can_be_named(run, config):
    Path("mine.py").write_text("from examples.digits import LitDigits\n\n\nclass Mine(LitDigits):\n    pass\n")
    config["model"]["class_path"] = "mine.Mine"
    assert run(config, "search", "config.yaml", "--trials", "1").code == 0


def test_the_written_config_says_what_was_asked(run, config):
    run(config, "search", "config.yaml", "--seed", "3")
    written = yaml.safe_load(Path("study/config.yaml").read_text())
    assert written["model"] == config["model"]
    assert written["search"]["seed"] == 3
    assert written["search"]["space"] == config["search"]["space"]


@pytest.mark.slow
def test_ctrl_c_ends_a_search_in_one_line_and_the_same_command_goes_on(run, config, tmp_path):
    config["trainer"]["max_epochs"] = 30
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    script = "import sys; from lightning_hp.cli import main; sys.exit(main(['search', 'config.yaml']))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment, **pipes)
    while not (tmp_path / "study/trials/000000/checkpoints/last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 1
    assert out == ""
    assert err.splitlines()[-1] == "lightning-hp: interrupted; the same command goes on from here"
    assert "Traceback" not in err
    assert "running" not in [trial.state for trial in Study(tmp_path / "study").trials]
    resumed = run(config, "search", "config.yaml")
    assert resumed.code == 0, resumed.err
    assert [trial.state for trial in Study("study").trials] == ["complete", "complete"]
