"""A search in a notebook: one place that is drawn anew, and lines only for what went wrong."""

from __future__ import annotations

import io
import sys
from types import ModuleType

import pytest
from rich.console import Console
from rich.table import Table

from lightning_hp.tracking import notebook
from lightning_hp.tracking.progress import Progress
from lightning_hp.trial import EpochEnded, Finished, Outcome, Started, Trial


@pytest.fixture
def shown(monkeypatch):
    """What a notebook has been given to display, in order, each with whether it stands where the last one stood."""
    pictures = []

    class Handle:
        def update(self, thing):
            pictures.append((thing, "again"))

    def display(*things, display_id=False, **options):
        pictures.extend((thing, "new") for thing in things)
        return Handle() if display_id else None

    module = ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return pictures


def text(table):
    console = Console(file=io.StringIO(), width=100, _environ={})
    console.print(table)
    return console.file.getvalue()


def test_the_bars_stand_in_one_place(shown, monkeypatch):
    monkeypatch.setattr(notebook, "INTERVAL", 0.0)
    with Progress(2, "acc", "max", [], console=Console(force_jupyter=True)) as progress:
        progress.record(Started(Trial(0, {}, 0), 0.0, 4))
        progress.record(EpochEnded(0, 1, {"acc": 0.5}))
        during = text(shown[-1][0])
        progress.record(Finished(0, Outcome("complete", 0.5), 1.0))
    assert [how for _, how in shown] == ["new"] + ["again"] * (len(shown) - 1)
    assert all(isinstance(thing, Table) for thing, _ in shown)
    assert "trial 0 acc 0.5" in during
    assert "2/4" in during
    last = text(shown[-1][0])
    assert "best acc 0.5 (trial 0)" in last
    assert "1/2" in last
    # Notebooks show what has such a representation.
    assert "best acc" in shown[-1][0]._repr_mimebundle_([], [])["text/html"]


def test_not_every_event_is_a_picture_but_the_last_one_is(shown, monkeypatch):
    monkeypatch.setattr(notebook, "INTERVAL", 1e9)
    with Progress(50, "acc", "max", [], console=Console(force_jupyter=True)) as progress:
        for number in range(50):
            progress.record(Started(Trial(number, {}, 0), 0.0))
            progress.record(Finished(number, Outcome("complete", 0.5), 1.0))
    assert len(shown) == 2
    assert "50/50" in text(shown[-1][0])


def test_what_failed_is_a_line_of_its_own(shown):
    console = Console(force_jupyter=True)
    told = []
    console.print = lambda line, **options: told.append(line)
    with Progress(2, "acc", "max", [], console=console) as progress:
        for number, outcome in enumerate([Outcome("complete", 0.5), Outcome("failed", reason="no <b>")]):
            progress.record(Started(Trial(number, {}, 0), 0.0))
            progress.record(Finished(number, outcome, 1.0))
    assert told == ["trial 1 failed: no <b>"]
