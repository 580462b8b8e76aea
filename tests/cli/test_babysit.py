"""``lightning-hp babysit``: one fit, looked after."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_hp.babysit.log import interventions


def test_it_tells_each_intervention_and_the_best_checkpoint(run, config):
    config["trainer"]["max_epochs"] = 3
    config["search"]["babysit"] = {"patience": 0, "min_delta": 5.0}
    result = run(config, "babysit", "config.yaml", "--root", "one")
    assert result.code == 0
    assert [line.split(": val_acc 0.")[0] for line in result.err.splitlines()] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    log = Path("one/version_0/babysit.jsonl").absolute()
    (intervention,) = interventions(log)
    lines = result.out.splitlines()
    assert lines[0] == f"epoch 2, step {intervention.step}: {intervention.sentence()}"
    assert "lr 0.1 -> 0.02" in lines[0]
    assert lines[1] == f"interventions: 1, written to {log}"
    assert lines[2].startswith("best val_acc 0.")
    assert Path(lines[2].split(": ")[1]).is_file()
    assert lines[3] == f"curves: tensorboard --logdir {Path('one').absolute()}"
    drawn = log.with_suffix(".png")
    assert lines[4] == f"picture: {drawn}"
    # A fit of a second.
    assert lines[5].startswith("an hour is enough for about ")
    assert "lightning-hp search" in lines[5]
    assert drawn.stat().st_size > 5000
    events = EventAccumulator("one/version_0").Reload()
    assert events.Tags()["images"] == ["babysit/picture"]


def test_a_replay_makes_the_same_moves_whatever_the_babysitters_settings(run, config):
    config["trainer"]["max_epochs"] = 3
    config["search"]["babysit"] = {"patience": 0, "min_delta": 5.0}
    watched = run(config, "babysit", "config.yaml", "--root", "one")
    del config["search"]["babysit"]
    replayed = run(config, "babysit", "config.yaml", "--root", "two", "--replay", "one/version_0")
    assert (replayed.code, replayed.err) == (0, watched.err)
    assert replayed.out.splitlines()[0] == watched.out.splitlines()[0]
    assert replayed.out.splitlines()[2].split(":")[0] == watched.out.splitlines()[2].split(":")[0]


def test_a_replay_of_what_is_not_there_is_one_line(run, config):
    result = run(config, "babysit", "config.yaml", "--replay", "nowhere")
    assert (result.code, result.out) == (2, "")
    assert "there is no log of a babysitter at nowhere" in result.err
    assert not Path("study").exists()


def test_it_needs_no_space(run, config):
    del config["search"]["space"]
    result = run(config, "babysit", "config.yaml")
    assert result.code == 0
    assert "interventions: 0" in result.out
    assert Path("study/version_0").is_dir()


def test_each_fit_gets_its_own_version(run, config):
    run(config, "babysit", "config.yaml")
    run(config, "babysit", "config.yaml")
    assert sorted(path.name for path in Path("study").iterdir()) == ["version_0", "version_1"]


def test_its_folder_may_be_in_the_home(run, config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    result = run(config, "babysit", "config.yaml", "--root=~/fits")
    assert result.code == 0
    assert (tmp_path / "home" / "fits" / "version_0").is_dir()


def test_a_monitor_that_is_never_logged_is_one_line(run, config):
    result = run(config, "babysit", "config.yaml", "--monitor", "val_accuracy")
    assert (result.code, result.out) == (2, "")
    line = result.err.splitlines()[-1]
    assert "monitor='val_accuracy' is not logged by the module (did you mean 'val_acc'?)" in line


@pytest.mark.parametrize("command", ["babysit", "search"])
def test_a_second_babysitter_of_the_metric_is_one_line(run, config, command):
    watching = {"class_path": "lightning_hp.Babysitter", "init_args": {"monitor": "val_acc", "mode": "max"}}
    config["trainer"]["callbacks"] = [watching]
    config["search"]["babysit"] = True
    result = run(config, command, "config.yaml")
    assert (result.code, result.out) == (2, "")
    line = result.err.splitlines()[-1]
    assert "monitor='val_acc' is watched by two Babysitters with mode='max'" in line
    assert "all but one among trainer.callbacks" in line


def test_a_fit_that_diverges_is_told(run, config):
    config["model"]["init_args"]["lr"] = 1e30
    result = run(config, "babysit", "config.yaml")
    assert result.code == 1
    assert "the fit diverged: the loss is nan" in result.out


def test_tensorboard_gets_no_metric_of_hyperparameters_that_is_none(run, config):
    run(config, "babysit", "config.yaml", "--root", "one")
    events = EventAccumulator("one/version_0").Reload()
    assert "hp_metric" not in events.Tags()["scalars"]
    assert "val_acc" in events.Tags()["scalars"]


def test_it_needs_no_search_section(run, config):
    del config["search"]
    assert run(config, "babysit", "config.yaml").code == 0
    assert Path("runs/config-babysit/version_0").is_dir()
