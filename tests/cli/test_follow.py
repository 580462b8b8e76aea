"""``lightning-hp search --from DIR [--zoom]``: a search that goes on from another study, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lightning_hp import Log, Space, Study
from lightning_hp.study.config import write_config
from tests.cli.made_up import record_parabola


@pytest.fixture
def finished(config, tmp_path):
    """A finished study of 40 made-up trials in ./study, whose best lr lies about 0.1, and its config."""
    config["search"]["trials"] = 40
    config["search"]["space"]["model.activation"] = {"scale": "choice", "values": ["relu", "tanh"]}
    space = Space(config["search"]["space"])
    root = tmp_path / "study"
    record_parabola(root, space, "model.lr")
    write_config(root, config)
    return root


def test_zoom_searches_the_space_that_the_study_suggests_beside_it(run, finished):
    result = run(None, "search", "--from", "study", "--zoom", "--trials", "1")
    assert result.code == 0
    made = Study("study-zoom")
    assert made.asked["space"] == Study("study").zoom().describe()
    lr = made.asked["space"]["model.lr"]
    assert 0.01 < lr["low"] < 0.1 < lr["high"] < 1.0
    assert made.asked["space"]["data.batch_size"] == Study("study").asked["space"]["data.batch_size"]
    assert made.asked["warm_start"][0] == "study"
    assert len(Study("study").trials) == 40


def test_the_same_command_goes_on_and_so_does_the_written_config(run, finished):
    for arguments in (("--from", "study", "--zoom"), ("--from", "study", "--zoom"), ("study-zoom/config.yaml",)):
        trials = str(len(Study("study-zoom").trials) + 1 if Path("study-zoom").exists() else 1)
        assert run(None, "search", *arguments, "--trials", trials).code == 0
    assert len(Study("study-zoom").trials) == 3
    assert run(None, "search", "--zoom", "--from", "study-zoom", "--trials", "1").code == 0
    assert Path("study-zoom-zoom/study.db").exists()


def test_without_zoom_the_space_stays_and_the_trials_are_seen(run, finished):
    assert run(None, "search", "--from", "study", "--trials", "1").code == 0
    assert Study("study-next").asked["space"] == Study("study").asked["space"]
    assert Study("study-next").asked["warm_start"] == ["study", "40 trials"]


def test_a_config_and_a_root_of_its_own_are_taken(run, config, finished):
    config["search"]["root"] = "mine"
    config["model"]["init_args"]["hidden"] = 8
    assert run(config, "search", "config.yaml", "--from", "study", "--zoom", "--trials", "1").code == 0
    assert Study("mine").asked["model"] == {"LitDigits": {"hidden": 8}}
    assert yaml.safe_load(Path("mine/config.yaml").read_text())["search"]["space"] == Study("study").zoom().describe()
    assert run(config, "search", "config.yaml", "--from", "study", "--root", "other", "--trials", "1").code == 0
    assert Path("other/study.db").exists()


def test_a_config_whose_folder_the_study_has_gets_one_beside_it(run, config, finished):
    assert run(config, "search", "config.yaml", "--from", "study", "--trials", "1").code == 0
    assert Path("study-next/study.db").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--zoom"], "--zoom needs --from DIR"),
        (["--from", "nowhere"], "nowhere holds no study"),
        (["--from", "study", "--root", "study"], "--root study is the study of --from itself"),
        (["--from", "study", "--zoom", "{a: 1}"], "--zoom needs true or false, got {'a': 1}"),
        (["--from", "study", "--monitor", "val_loss"], "has the objective val_acc (max)"),
        (["--from"], "--from: expected one argument"),
    ],
)
def test_what_cannot_be_gone_on_from_is_told_in_one_line(run, finished, arguments, told):
    before = sorted(Path().rglob("*"))
    result = run(None, "search", *arguments)
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert told in line
    assert sorted(Path().rglob("*")) == before


def test_a_study_without_a_config_needs_one(run, finished):
    (finished / "config.yaml").unlink()
    result = run(None, "search", "--from", "study")
    assert result.code == 2
    assert "--from study holds no config.yaml: say which CONFIG to search" in result.err


def test_show_prints_what_the_trials_say_and_the_space_ready_to_paste(run, finished):
    result = run(None, "show", str(finished))
    assert "- model.lr matters: about" in result.out
    assert f"search it:       lightning-hp search --from {finished} --zoom" in result.out
    shown = [line for line in result.out.splitlines() if line.startswith("    ") and "scale" in line]
    pasted = Space(yaml.safe_load("\n".join(shown)))
    assert pasted == Study(finished).zoom()
    assert pasted["model.lr"] != Log(0.01, 1.0)
