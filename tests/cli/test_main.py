"""The command as a process: how it starts, how it is stopped, what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_hp
from lightning_hp import Study, cli
from lightning_hp.cli.messages import helpful
from lightning_hp.cli.settings import SETTINGS
from lightning_hp.study.config import read_config

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def python(*arguments, **settings):
    return subprocess.run([sys.executable, *arguments], env=ENVIRONMENT, capture_output=True, text=True, **settings)


def test_it_runs_as_a_module():
    done = python("-m", "lightning_hp", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{lightning_hp.__version__}\n", "")


def test_a_reader_that_has_seen_enough_ends_it_quietly(run, config, tmp_path):
    config["search"]["space"] = {"model.lr": {"scale": "log", "low": 0.01, "high": 1.0}}
    run(config, "search", "config.yaml", "--trials", "1")
    # Nobody reads the pipe: any flush breaks it.
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lightning_hp", "show", "study", "--json"]
    done = subprocess.run(command, env=ENVIRONMENT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_pipe_that_breaks_elsewhere_is_told(run, config, monkeypatch):
    def main(config, lightning):
        raise BrokenPipeError

    monkeypatch.setattr("lightning_hp.cli.lint.main", main)
    with pytest.raises(BrokenPipeError):
        run(config, "lint", "config.yaml")


@pytest.mark.parametrize(("command", "told"), [("search", "interrupted; the same command goes on"), ("lint", "interrupted\n")])
def test_ctrl_c_while_it_starts_is_one_line(run, config, monkeypatch, command, told):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupted)
    result = run(config, command, "config.yaml")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"lightning-hp: {told}")


def test_the_path_is_left_as_it_was(run, config, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)

    def main(config, lightning):
        sys.path.insert(0, "of somebody else")
        return 0

    monkeypatch.setattr("lightning_hp.cli.lint.main", main)
    assert run(config, "lint", "config.yaml").code == 0
    assert sys.path == ["of somebody else", *before]


def test_help_names_each_flag_once_and_its_default(run):
    search = run(None, "search", "--help")
    assert search.code == 0
    for name in SETTINGS:
        flag = f"--{name.replace('_', '-')} "
        assert search.out.split("options:")[1].count(f"  {flag}") == 1
    assert search.out.count("default") == 15
    assert "version_N" in run(None, "babysit", "--help").out


def test_a_completion_script_knows_commands_and_flags(run):
    pytest.importorskip("shtab")
    for shell in ("bash", "zsh"):
        result = run(None, "completion", shell)
        assert result.code == 0
        for word in ("nudge", "--keep-checkpoints", "--print_config"):
            assert word in result.out


def test_without_shtab_completion_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    result = run(None, "completion", "bash")
    assert (result.code, result.out) == (2, "")
    assert "pip install 'lightning-hp[completion]'" in result.err


def test_a_setting_of_two_words_is_a_flag_with_either_dash(run, config):
    for flag in ("--max-time", "--max_time"):
        assert "max_time" in run(config, "search", "config.yaml", flag, "soon").err


def test_a_setting_may_be_called_by_its_place_in_the_config(run, config):
    config["trainer"]["max_epochs"] = 2
    flags = ("--search.babysit", "config.yaml", "--search.trials=1", "--search.pruner", "halving", "--search.keep_runs", "3")
    assert run(config, "search", *flags).code == 0
    asked = Study("study").asked
    assert (asked["trials"], bool(asked["babysit"]), asked["pruner"]) == (1, True, "halving")
    assert read_config(Path("study"))["search"]["keep_runs"] == 3


@pytest.mark.parametrize(
    ("command", "flag"), [("search", "--search.prunner"), ("search", "--search.space.model.lr"), ("lint", "--search.trials")]
)
def test_a_place_in_the_config_that_is_no_flag_is_refused(run, config, command, flag):
    found = run(config, command, "config.yaml", flag, "3")
    assert found.code == 2
    assert f"lightning-hp {command}: unknown argument {flag}" in found.err


def test_a_switch_may_stand_before_the_config(run, config):
    assert run(config, "search", "--verbose", "--babysit", "config.yaml", "--trials", "1").code == 0
    assert run(config, "search", "--babysit", "{patience: 3}", "config.yaml", "--root", "patient", "--trials", "1").code == 0
    assert run(config, "search", "--babysit", "false", "config.yaml", "--root", "other", "--trials", "1").code == 0


def test_a_folder_may_be_called_by_a_number(run, config):
    assert run(config, "search", "config.yaml", "--root", "2024", "--trials", "1").code == 0
    assert Path("2024/study.db").exists()


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            """Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'a.LightningModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'mine.Net':
        Parser key "sizes":
          Does not validate against any of the Union subtypes
          Errors:
            - Expected a <class 'list'>
            - Expected a <class 'tuple'>
            - Expected a <class 'NoneType'>
          Given value: x
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {'class_path': 'mine.Net'}""",
            "model: mine.Net: sizes: Expected list or tuple, got x",
        ),
        (
            """Parser key "trainer.callbacks":
  Errors:
    - Problem with given class_path 'Stop':
        the following arguments are required: monitor
    - Not a valid subclass of Callback
      Subclass types expect one of:
      - a class path (str)
    - Expected a <class 'NoneType'>
  Given value: [Namespace(class_path='Stop')]""",
            "trainer.callbacks: Stop: the following arguments are required: monitor",
        ),
        ('Parser key "model":\n  Subtypes: [x]\n  Given value: {}', "model, got {}"),
        ("something else", "something else"),
        ("", ""),
    ],
)
def test_of_a_long_message_what_helps_is_left(message, told):
    assert helpful(message) == told


def test_what_breaks_inside_an_import_is_not_hidden(tmp_path):
    (tmp_path / "torch.py").write_text("raise AttributeError('broken inside')\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from lightning_hp import SearchLoop"
    done = python("-c", script)
    assert done.returncode == 1
    assert "ImportError: lightning_hp.loop cannot be imported: broken inside" in done.stderr
