"""The terminal: bars where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import io

from rich.console import Console

from lightning_hp.tracking.progress import Progress
from lightning_hp.trial import EpochEnded, Finished, Outcome, Started, Trial


def play(console, enabled=True):
    done = Trial(0, {}, 0, state="complete", value=0.5)
    with Progress(3, "val_acc", "max", [done], enabled, console) as progress:
        for number, outcome in ((1, Outcome("complete", value=0.75)), (2, Outcome("failed", reason="ValueError: [no]"))):
            progress.record(Started(Trial(number, {}, 0), 0.0))
            progress.record(EpochEnded(number, 0, {"val_acc": 0.25}))
            progress.record(Finished(number, outcome, 1.0))
    return console.file.getvalue()


def test_without_a_terminal_there_is_a_line_per_trial():
    lines = play(Console(file=io.StringIO(), width=60)).splitlines()
    assert lines == [
        "[2/3] trial 1: complete, val_acc 0.75; best val_acc 0.75 (trial 1)",
        "[3/3] trial 2: failed, ValueError: [no]; best val_acc 0.75 (trial 1)",
    ]


def test_in_a_terminal_there_are_bars_and_failures_stay_readable():
    shown = play(Console(file=io.StringIO(), force_terminal=True, width=100))
    assert "best val_acc 0.75 (trial 1)" in shown
    assert "3/3" in shown
    assert "trial 2 failed: ValueError: [no]" in shown


def test_disabled_it_says_nothing():
    assert play(Console(file=io.StringIO()), enabled=False) == ""
    assert play(Console(file=io.StringIO(), force_terminal=True), enabled=False) == ""
