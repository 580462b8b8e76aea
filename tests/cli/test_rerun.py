"""``lightning-hp rerun`` and ``finish``: a study's own config is enough."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from examples.digits import DigitsData, LitDigits
from lightning_hp import Halving, Log, SearchLoop, Study
from lightning_hp.study.store import Store


@pytest.fixture
def searched(run, config):
    """A search of two trials, made from a config and flags."""
    assert run(config, "search", "config.yaml", "--seed", "3").code == 0


def test_a_trial_of_a_config_comes_out_the_same(run, searched):
    result = run(None, "rerun", "study", "1")
    assert result.code == 0, result.err
    assert result.out.startswith("trial 1: the same to the last bit")


def test_also_where_the_study_has_been_moved(run, searched, tmp_path):
    shutil.move("study", "moved")
    assert run(None, "rerun", "moved", "0").code == 0


def test_a_difference_is_exit_code_1_and_names_metric_epoch_and_values(run, searched):
    loss = Study("study").trials[0].metrics["val_loss"][0]
    store = Store(Path("study"))
    [trial, *_] = store.trials()
    store.write(replace(trial, metrics={**trial.metrics, "val_loss": [loss + 1]}), 0.0, 1.0)
    store.close()
    result = run(None, "rerun", "study", "0")
    assert result.code == 1
    assert f"different from epoch 0 on (the first is 0): val_loss in epoch 0 was {loss + 1!r}, is {loss!r}" in result.out
    assert run(None, "rerun", "study", "0", "--tolerance", "10").code == 1


def test_a_search_of_python_whose_factory_has_no_name_says_what_to_call(run, tmp_path):
    SearchLoop(
        lambda lr: LitDigits(lr=lr, hidden=16),
        data=DigitsData,
        space={"lr": Log(0.01, 1.0)},
        monitor="val_acc",
        mode="max",
        trials=1,
        trainer={"max_epochs": 1, "accelerator": "cpu"},
        executor="inline",
        root_dir="mine",
        progress=False,
    ).run()
    result = run(None, "rerun", "mine", "0")
    assert result.code == 2
    assert "for a search that was begun in Python call loop.rerun(0) of its SearchLoop" in result.err
    assert "loop.finish(0)" in run(None, "finish", "mine", "0").err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rerun", "study", "9"), "there is no trial 9"),
        (("finish", "study", "0"), "needs the number of a pruned trial, but trial 0 is complete"),
        (("rerun", "nowhere", "0"), "holds no study"),
        (("rerun", "study", "best"), "invalid int value: 'best'"),
        (("rerun", "study"), "the following arguments are required: N"),
    ],
)
def test_what_cannot_be_run_again_is_one_line_and_code_2(run, searched, arguments, told):
    result = run(None, *arguments)
    assert result.code == 2
    assert told in result.err
    assert result.err.count("\n") == 1


def test_a_config_that_was_edited_is_refused(run, searched):
    file = Path("study/config.yaml")
    file.write_text(file.read_text().replace("hidden: 16", "hidden: 17"))
    result = run(None, "rerun", "study", "0")
    assert result.code == 2
    assert "holds a study of another search" in result.err


def test_finish_trains_a_pruned_trial_to_its_end(run, config):
    config["trainer"]["max_epochs"] = 4
    config["search"] |= {"trials": 4, "strategy": "random", "pruner": {"name": "halving", "first": 1, "factor": 2}}
    assert run(config, "search", "config.yaml").code == 0
    number = next(trial.number for trial in Study("study").trials if trial.state == "pruned")
    result = run(None, "finish", "study", str(number))
    assert result.code == 0, result.err
    assert result.out.startswith(f"trial {number}: complete, val_acc 0.")
    assert result.out.endswith("epochs: 4\n")
    shown = json.loads(run(None, "show", "study", "--json").out)
    assert shown["trials"][number]["state"] == "complete"
    assert run(None, "rerun", "study", str(number)).code == 0


def in_python(root, **changes):
    """A search that was begun in Python, and can be made from its config."""
    space = {"lr": Log(0.01, 1.0)}
    arguments = {"trials": 12, "strategy": "random", "trainer": {"max_epochs": 2, "accelerator": "cpu"}, "executor": "inline"}
    return SearchLoop(
        LitDigits,
        data=DigitsData,
        space=space,
        monitor="val_acc",
        mode="max",
        root_dir=root,
        progress=False,
        **arguments | changes,
    )


def test_finish_leaves_all_that_a_search_of_python_was_to_keep(run):
    pruner = Halving(first=1, factor=4)
    study = in_python("mine", pruner=pruner, keep_checkpoints=None, keep_runs=None).run()
    kept = files(study.root, "checkpoints/best.ckpt"), files(study.root, "events.out.tfevents.*")
    assert len(kept[0]) == 12
    number = next(trial.number for trial in study.trials if trial.state == "pruned")
    result = run(None, "finish", "mine", str(number))
    assert result.code == 0, result.err
    assert kept[0] <= files(study.root, "checkpoints/best.ckpt")
    assert kept[1] <= files(study.root, "events.out.tfevents.*")


def files(root, pattern):
    return set(root.glob(f"trials/*/{pattern}"))


def test_a_search_of_python_with_a_warm_start_can_be_made_from_its_config(run):
    in_python("earlier", trials=2).run()
    in_python("mine", trials=1, warm_start="earlier").run()
    result = run(None, "rerun", "mine", "0")
    assert result.code == 0, result.err
