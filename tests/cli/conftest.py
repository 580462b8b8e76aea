"""What tests of the command share: a good config, and a folder to run commands in."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightning_hp.cli import main

GOOD = {
    "model": {"class_path": "examples.digits.LitDigits", "init_args": {"hidden": 16}},
    "data": {"class_path": "examples.digits.DigitsData"},
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    "search": {
        "monitor": "val_acc",
        "mode": "max",
        "trials": 2,
        "executor": "inline",
        "root": "study",
        "space": {
            "model.lr": {"scale": "log", "low": 0.01, "high": 1.0},
            "data.batch_size": {"scale": "log_int", "low": 64, "high": 256},
        },
    },
}


@pytest.fixture(autouse=True)
def as_wide_as_it_comes(monkeypatch):
    """Whatever the width of the terminal that the tests are started in."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def config():
    """A search that takes a fraction of a second, to be changed at will."""
    return copy.deepcopy(GOOD)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder, with config.yaml of this content; gives code, out and err."""
    monkeypatch.chdir(tmp_path)

    def command(content, *arguments):
        if content is not None:
            # JSON is YAML, and quotes what needs quotes.
            Path("config.yaml").write_text(content if isinstance(content, str) else json.dumps(content))
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return command
