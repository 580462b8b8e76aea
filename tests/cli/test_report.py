"""``lightning-hp report``: where the page is, and what is told where there is none."""

from __future__ import annotations

import io
import webbrowser
from pathlib import Path

import pytest
from rich.console import Console

from lightning_hp.cli import report


@pytest.fixture
def searched(run, config):
    assert run(config, "search", "config.yaml", "--trials", "1").code == 0


def test_it_prints_where_the_page_is(run, searched):
    result = run(None, "report", "study")
    assert (result.code, result.err) == (0, "")
    page = Path(result.out.strip())
    assert page == Path("study/report/index.html").absolute()
    assert "val_acc" in page.read_text(encoding="utf-8")


def test_a_terminal_shows_that_it_draws(searched, capsys):
    console = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={})
    assert report.main("study", in_browser=False, console=console) == 0
    assert "drawing 1 trial " in console.file.getvalue()
    # What stands on standard output can be piped.
    assert capsys.readouterr().out.strip() == str(Path("study/report/index.html").absolute())


def test_it_opens_a_browser_when_asked(run, searched, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert run(None, "report", "study", "--open").code == 0
    assert opened == [Path("study/report/index.html").absolute().as_uri()]


def test_a_folder_without_a_study_is_told(run):
    result = run(None, "report", "nothing")
    assert (result.code, result.out) == (2, "")
    assert "holds no study" in result.err


def test_a_mistyped_flag_is_told_with_the_right_one(run):
    assert "did you mean '--open'" in run(None, "report", "study", "--opne").err
