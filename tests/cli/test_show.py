"""``lightning-hp show``: a leaderboard that is right at any width."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from lightning_hp import Choice, Int, Log, ReverseLog, Space, Study
from lightning_hp.cli import main
from lightning_hp.cli.show import print_leaderboard
from lightning_hp.study import Recorder
from lightning_hp.trial import Finished, Outcome, Started, Trial

SPACE = Space(
    {
        "model.lr": Log(1e-4, 1.0),
        "model.momentum": ReverseLog(0.5, 0.999),
        "model.hidden": Int(10, 99999),
        "model.activation": Choice("leaky_relu", "tanh"),
        "data.batch_size": Int(1, 512),
    }
)


@pytest.fixture
def study(tmp_path):
    """Makes the study of these outcomes, with running trials where there is None."""

    recorders = []

    def make(outcomes, total=None):
        asked = {"monitor": "val_acc", "mode": "max", "total": total, "space": SPACE.describe()}
        recorder = Recorder(tmp_path, asked, frozenset(), SPACE)
        recorders.append(recorder)
        for number, (hparams, outcome) in enumerate(zip(SPACE.sample(len(outcomes)), outcomes, strict=True)):
            recorder.record(Started(Trial(number, hparams, number), 0.0))
            if outcome is not None:
                recorder.record(Finished(number, outcome, 1.0))
        return Study(tmp_path)

    yield make
    for recorder in recorders:
        recorder.close()


def complete(count):
    return [Outcome("complete", value=round(0.9777 - 0.0101 * number, 4)) for number in range(count)]


def failed(reason):
    return Outcome("failed", reason=reason)


def printed(study, width=200, **options):
    console = Console(file=io.StringIO(), width=width)
    print_leaderboard(study, console, **options)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [*range(12, 80, 4), 80, 100, 200])
def test_no_digit_is_lost_at_any_width(study, width):
    made = study(complete(3), total=3)
    text = printed(made, width)
    assert "…" not in text
    # A line too long is folded, which adds ends of lines and margins, and takes nothing away.
    squeezed = re.sub(r"\s", "", text)
    for trial in made.leaderboard():
        for value in [trial.value, *trial.hparams.values()]:
            shown = f"{value:.3g}" if isinstance(value, float) and value != trial.value else str(value)
            assert shown in squeezed


@pytest.mark.parametrize(("columns", "folded"), [("40", True), (None, False), ("", False)])
def test_a_pipe_gets_whole_rows_unless_columns_is_exported(study, monkeypatch, capsys, columns, folded):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    made = study(complete(2), total=2)
    assert main(["show", str(made.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ("trial 0  val_acc 0.9777" in lines) == folded
    row = re.compile(r" +0 +0\.9777( +\S+){5} *")
    assert any(map(row.fullmatch, lines)) != folded


def test_where_the_table_does_not_fit_there_is_a_block_for_each_trial(study):
    made = study(complete(2), total=2)
    lr, momentum, hidden, activation, batch_size = made.best.hparams.values()
    lines = printed(made, 40).splitlines()
    assert lines[1] == "trial 0  val_acc 0.9777"
    words = f"lr={lr:.3g} momentum={momentum:.3g} hidden={hidden} activation={activation} batch_size={batch_size}"
    assert " ".join(" ".join(lines[2:4]).split()) == words
    assert max(len(line) for line in lines[1:]) <= 40


@pytest.mark.parametrize(
    ("outcomes", "total", "told"),
    [
        (complete(2), 6, "2 of 6 trials complete, 4 waiting; best val_acc first (max)"),
        ([None, *complete(2)], 6, "2 of 6 trials complete, 1 running, 3 waiting; best"),
        ([*complete(1), failed("x"), Outcome("diverged", reason="y")], 3, "1 of 3 trials complete, 1 failed, 1 diverged;"),
        (complete(2), None, "2 of 2 trials complete; best"),
        (complete(3), 2, "3 of 3 trials complete; best"),
        ([], 4, "0 of 4 trials complete, 4 waiting; best"),
    ],
)
def test_the_first_line_counts_what_was_asked_for(study, outcomes, total, told):
    assert printed(study(outcomes, total)).startswith(told)


def test_without_a_complete_trial_there_is_no_table(study):
    lines = printed(study([failed("KeyError: 'none'")], total=1)).splitlines()
    assert lines == ["0 of 1 trials complete, 1 failed; best val_acc first (max)", "trial 0 failed: KeyError: 'none'"]


def test_trials_that_failed_alike_share_a_line(study):
    outcomes = [failed("KeyError: 'none'"), *complete(1), failed("ValueError: [no]"), failed("KeyError: 'none'")]
    lines = printed(study(outcomes)).splitlines()
    assert lines[-2:] == ["2 trials failed: KeyError: 'none' (0, 3)", "trial 2 failed: ValueError: [no]"]


def test_a_long_reason_is_cut_to_a_line_that_still_says_which(study):
    made = study([failed("RuntimeError: " + "long " * 100)] * 12)
    line = printed(made, 80).splitlines()[-1]
    assert len(line) <= 80
    assert line.startswith("12 trials failed: RuntimeError: long")
    assert line.endswith("… (0, 1, 2, 3, 4, 5, 6, 7, ...)")


def test_of_many_trials_the_best_are_shown_and_how_to_see_all(study):
    made = study([*complete(30), *(failed(f"reason {number}") for number in range(25))])
    lines = printed(made, most=20, see="--all").splitlines()
    assert sum(line.split()[:1] == [str(number)] for number in range(30) for line in lines) == 20
    assert lines.count("and 10 more: --all") == 1
    assert lines[-1] == "and 5 more: --all"
    everything = printed(made)
    assert "more" not in everything
    assert "reason 24" in everything


def test_the_command_shows_twenty_or_all(study, run, tmp_path):
    study(complete(25))
    assert "and 5 more: --all" in run(None, "show", str(tmp_path)).out
    assert "more: --all" not in run(None, "show", str(tmp_path), "--all").out
    assert len(json.loads(run(None, "show", str(tmp_path), "--json").out)["trials"]) == 25


def test_programs_read_what_the_trials_say(study, run, tmp_path):
    made = study(complete(40))
    told = json.loads(run(None, "show", str(tmp_path), "--json").out)
    assert [each["line"] for each in told["advice"]] == [each.line for each in made.advice()]
    assert told["advice"]
    assert told["next_space"] == made.zoom().describe()
    assert told["importance"].keys() == told["next_space"].keys()
    for name, found in made.importance().items():
        assert told["importance"][name]["share"] == pytest.approx(found.share)
        assert told["importance"][name]["matters"] is found.matters


def test_a_study_without_finished_trials_has_its_form_as_well(study, run, tmp_path):
    study([failed("KeyError: 'none'")])
    told = json.loads(run(None, "show", str(tmp_path), "--json").out)
    assert told.keys() >= {"study", "best", "trials", "advice", "importance", "next_space"}


def test_names_and_values_with_brackets_are_shown_as_they_are(tmp_path):
    space = Space({"widths": Choice.of([[8], [16, 16]])})
    asked = {"monitor": "val/acc[top]", "mode": "max", "total": None, "space": space.describe()}
    recorder = Recorder(tmp_path, asked, frozenset(), space)
    recorder.record(Started(Trial(0, {"widths": [16, 16]}, 0), 0.0))
    recorder.record(Finished(0, Outcome("complete", value=0.5), 1.0))
    recorder.close()
    for width in (20, 200):
        text = printed(Study(tmp_path), width)
        assert "val/acc[top]" in text
        assert "[16, 16]" in text
