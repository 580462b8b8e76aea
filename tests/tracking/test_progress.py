"""The terminal: bars where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from lightning_hp.tracking.progress import MOST_BARS, Progress, resumed
from lightning_hp.trial import EpochEnded, Finished, Grouped, Outcome, Paused, Printed, Started, Trial, Unfused

DONE = Trial(0, {}, 0, state="complete", value=0.5)
FAILED = Trial(1, {}, 0, state="failed", reason="no")


def lines():
    return Console(file=io.StringIO(), width=60)


def terminal(width=100):
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=40, _environ={})


def play(console, enabled=True):
    with Progress(3, "val_acc", "max", [DONE], enabled, console) as progress:
        for number, outcome in ((1, Outcome("complete", value=0.75)), (2, Outcome("failed", reason="ValueError: [no]"))):
            progress.record(Started(Trial(number, {}, 0), 0.0))
            progress.record(EpochEnded(number, 0, {"val_acc": 0.25}))
            progress.record(Finished(number, outcome, 1.0))
    return console.file.getvalue()


@pytest.fixture
def drawn():
    """What the bars look like at this moment, without colours."""

    def look(progress):
        console = Console(width=100, file=io.StringIO(), _environ={})
        with console.capture() as capture:
            console.print(progress._bars.make_tasks_table(progress._bars.tasks))
        return [line for line in capture.get().splitlines() if line.strip()]

    return look


def test_without_a_terminal_there_is_a_line_per_trial():
    assert play(lines()).splitlines() == [
        "[2/3] trial 1: complete, val_acc 0.75; best val_acc 0.75 (trial 1)",
        "[3/3] trial 2: failed, ValueError: [no]; best val_acc 0.75 (trial 1)",
    ]


@pytest.mark.parametrize("console", [lines, terminal])
def test_a_study_that_goes_on_says_from_where(console):
    shown = console()
    Progress(9, "val_acc", "max", [DONE, FAILED], console=shown).tell_resumed([3, 2])
    assert shown.file.getvalue() == "2 of 9 trials done; going on with trials 2 and 3\n"
    shown = console()
    Progress(2, "val_acc", "max", [DONE, FAILED], console=shown).tell_resumed([])
    assert shown.file.getvalue() == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((0, 1, [0]), "0 of 1 trial done; going on with trial 0"),
        ((1, None, [4, 5, 6]), "1 trial done; going on with trials 4, 5 and 6"),
        ((3, 20, []), "3 of 20 trials done; going on"),
        ((0, 20, range(10)), "0 of 20 trials done; going on with trials 0, 1, 2, 3, 4, 5, 6, 7 and 2 more"),
    ],
)
def test_how_many_are_done_and_which_go_on_are_told(arguments, told):
    assert resumed(*arguments) == told


def test_a_line_ends_with_the_reason_while_there_is_no_best():
    console = lines()
    with Progress(2, "val_acc", "max", [], console=console) as progress:
        progress.record(Started(FAILED, 0.0))
        progress.record(Finished(1, Outcome("failed", reason="KeyError: 'x'"), 1.0))
    assert console.file.getvalue() == "[1/2] trial 1: failed, KeyError: 'x'\n"


def test_in_a_terminal_there_are_bars_and_failures_stay_readable():
    shown = play(terminal())
    assert "best val_acc 0.75 (trial 1)" in shown
    assert "3/3" in shown
    assert "trial 2 failed: ValueError: [no]" in shown


def test_disabled_it_says_nothing():
    assert play(Console(file=io.StringIO()), enabled=False) == ""
    assert play(Console(file=io.StringIO(), force_terminal=True), enabled=False) == ""


@pytest.mark.parametrize("make", [lines, terminal])
def test_where_nothing_is_to_run_that_is_all_it_says(make):
    console = make()
    with Progress(2, "val_acc", "max", [DONE, FAILED], console=console):
        pass
    assert console.file.getvalue() == "nothing to run: all 2 trials are finished (1 failed); ask for more with trials\n"


def test_trials_beyond_those_asked_for_do_not_count_as_done():
    console = lines()
    beyond = Trial(5, {}, 0, state="complete", value=0.9)
    with Progress(2, "val_acc", "max", [DONE, beyond], console=console) as progress:
        progress.record(Started(FAILED, 0.0))
        progress.record(Finished(1, Outcome("complete", value=0.25), 1.0))
    assert console.file.getvalue().startswith("[2/2] trial 1: complete, val_acc 0.25")


def test_each_running_trial_has_a_bar_of_its_own(drawn):
    with Progress(3, "val_acc", "max", [], console=terminal()) as progress:
        for number in (0, 1, 2):
            progress.record(Started(Trial(number, {}, 0), 0.0, max_epochs=10))
        progress.record(EpochEnded(2, 6, {"val_acc": 0.25}))
        progress.record(EpochEnded(0, 0, {"val_acc": 0.125}))
        search, *bars = drawn(progress)
        assert "0/3" in search
        assert [re.split(r"━|  ", bar)[0].strip() for bar in bars] == [
            "trial 0 val_acc 0.125",
            "trial 1",
            "trial 2 val_acc 0.25",
        ]
        assert [re.search(r"\d+/10", bar)[0] for bar in bars] == ["1/10", "0/10", "7/10"]
        progress.record(Finished(1, Outcome("complete", value=0.5), 1.0))
        search, *bars = drawn(progress)
        assert "1/3" in search
        assert [re.search(r"trial \d", bar)[0] for bar in bars] == ["trial 0", "trial 2"]


def test_a_trial_that_waits_at_a_rung_is_not_done_and_one_that_is_pruned_there_is(drawn):
    outcome = Outcome("pruned", value=0.5)
    with Progress(3, "val_acc", "max", [], console=terminal()) as progress:
        progress.record(Started(Trial(0, {}, 0), 0.0, max_epochs=10))
        progress.record(Paused(0, outcome, 1.0))
        (search,) = drawn(progress)
        assert "0/3" in search
        progress.record(Finished(0, outcome, 1.0))
        (search,) = drawn(progress)
        assert "1/3" in search
        assert "best" not in search


def test_of_many_running_trials_some_are_shown_and_the_next_takes_a_place_that_is_free(drawn):
    with Progress(20, "val_acc", "max", [], console=terminal()) as progress:
        for number in range(12):
            progress.record(Started(Trial(number, {}, 0), 0.0, max_epochs=10))
        assert len(drawn(progress)) == 1 + MOST_BARS
        progress.record(Finished(0, Outcome("complete", value=0.5), 1.0))
        progress.record(EpochEnded(11, 0, {"val_acc": 0.125}))
        assert "trial 11 val_acc 0.125" in drawn(progress)[-1]


def test_a_trial_without_a_last_epoch_has_no_total(drawn):
    with Progress(None, "val_acc", "max", [], console=terminal()) as progress:
        progress.record(Started(Trial(0, {}, 0), 0.0))
        progress.record(EpochEnded(0, 4, {}))
        assert "5/?" in drawn(progress)[1]


def test_time_left_goes_by_the_trials_of_this_run(drawn, monkeypatch):
    now = [0.0]
    console = terminal()
    console.get_time = lambda: now[0]
    with Progress(12, "val_acc", "max", [DONE, FAILED], console=console) as progress:
        monkeypatch.setattr(progress._bars, "get_time", lambda: now[0])
        assert "-:--:--" in drawn(progress)[0]
        now[0] = 100.0
        for number in (2, 3):
            progress.record(Started(Trial(number, {}, 0), 0.0))
            progress.record(Finished(number, Outcome("failed", reason="no"), 1.0))
        assert drawn(progress)[0].endswith("0:01:40 0:06:40")
        now[0] = 130.0
        assert drawn(progress)[0].endswith("0:02:10 0:06:10")


@pytest.mark.parametrize("width", [30, 60, 100])
def test_the_last_columns_stay_free_for_an_echo(width):
    console = terminal(width)
    with Progress(3, "val_acc", "max", [], console=console) as progress:
        progress.record(Started(Trial(0, {}, 0), 0.0, max_epochs=3))
        progress.record(EpochEnded(0, 0, {"val_acc": 0.5}))
        (table,) = progress._bars.get_renderables()
        with console.capture() as capture:
            console.print(table)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capture.get())
    assert max(len(line.rstrip("\r")) for line in plain.splitlines()) <= width - 4


def test_why_trials_are_not_fused_is_told_once_whatever_was_timed():
    console = Console(file=io.StringIO(), width=200)
    with Progress(4, "val_acc", "max", [], console=console) as progress:
        for reason in ("a step takes 0.6 ms, 3 take 0.4", "a step takes 15.1 ms, 2 take 3.0", "manual optimization"):
            progress.record(Unfused((0, 1), reason))
    assert console.file.getvalue().splitlines() == [
        "not fused: a step takes 0.6 ms, 3 take 0.4",
        "not fused: manual optimization",
    ]


def test_where_it_may_be_for_numbers_that_trials_are_not_fused_these_are_named():
    console = lines()
    with Progress(4, "val_acc", "max", [], console=console) as progress:
        for names in (("heads",), ("heads", "units"), (), None):
            progress.record(Unfused((0, 1), "a view", names))
    assert console.file.getvalue().splitlines() == [
        "not fused where heads differs: a view",
        "not fused where heads or units differ: a view",
        "not fused: a view",
    ]


def test_trials_that_were_given_back_are_not_shown_as_running():
    with Progress(2, "val_acc", "max", [], console=terminal(60)) as progress:
        for number in range(2):
            progress.record(Started(Trial(number, {}, 0), 0.0, max_epochs=3))
        progress.record(Grouped({0: "one", 1: "another"}, (1,)))
        assert [task.description for task in progress._bars.tasks[1:]] == ["trial 0"]


def test_what_trials_print_is_shown_each_time_and_what_they_warn_of_once():
    console = lines()
    with Progress(3, "val_acc", "max", [], console=console) as progress:
        for number in (0, 1):
            progress.record(Printed((number,), "hello"))
            progress.record(Printed((number,), "UserWarning: old", once=True))
        progress.record(Printed((2,), "UserWarning: another", once=True))
    told = ["trial 0: hello", "trial 0: UserWarning: old", "trial 1: hello", "trial 2: UserWarning: another"]
    assert console.file.getvalue().splitlines() == told
