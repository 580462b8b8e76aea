"""``lightning-hp show --sort --filter --csv``: the trials that a person asks for."""

from __future__ import annotations

import csv
import io
import json

import pytest

from lightning_hp import Choice, Int, Log, Space
from lightning_hp.study import Recorder
from lightning_hp.trial import Finished, Outcome, Started, Trial

SPACE = Space(
    {
        "model.lr": Log(1e-4, 1.0),
        "model.hidden": Int(8, 64),
        "data.hidden": Int(1, 9),
        "model.activation": Choice("relu", "tanh"),
    }
)
LRS = [0.3, 0.001, 0.1, 0.03]
METRICS = {"val_acc": [0.5, 0.9, 0.7], "val_loss": [3.0, 1.0, 2.0]}
REASON = 'ValueError: "no", he said,\nand left'


@pytest.fixture
def root(tmp_path):
    """A study of two complete trials, a failed and a diverged one."""
    asked = {"monitor": "val_acc", "mode": "max", "total": 4, "space": SPACE.describe()}
    recorder = Recorder(tmp_path / "study", asked, frozenset(), SPACE)
    outcomes = [
        Outcome("complete", 0.8, 3, {"val_acc": [0.8, 0.7, 0.6], "val_loss": [2.0, 4.0, 5.0]}),
        Outcome("failed", None, 1, {"val_acc": [0.2], "val_loss": [9.0]}, REASON),
        Outcome("complete", 0.9, 3, METRICS),
        Outcome("diverged", None, 0, {}, "loss is nan"),
    ]
    for number, (lr, outcome) in enumerate(zip(LRS, outcomes, strict=True)):
        activation = "relu" if number % 2 == 0 else "tanh"
        hparams = {"model.lr": lr, "model.hidden": 8 * (number + 1), "data.hidden": 2, "model.activation": activation}
        recorder.record(Started(Trial(number, hparams, 10 + number), 100.0))
        recorder.record(Finished(number, outcome, 102.5))
    recorder.close()
    return "study"


@pytest.fixture
def numbers(run, root):
    """The numbers of the trials that some flags leave, in order."""

    def found(*flags):
        result = run(None, "show", root, "--json", *flags)
        assert result.code == 0, result.err
        return [trial["number"] for trial in json.loads(result.out)["trials"]]

    return found


@pytest.mark.parametrize(
    ("flags", "order"),
    [
        ((), [0, 1, 2, 3]),
        (("--sort", "value"), [2, 0, 1, 3]),
        (("--sort", "val_acc"), [2, 0, 1, 3]),
        (("--reverse",), [0, 2, 1, 3]),
        (("--sort", "lr"), [1, 3, 2, 0]),
        (("--sort", "model.lr", "--reverse"), [0, 2, 3, 1]),
        (("--sort", "number", "--reverse"), [3, 2, 1, 0]),
        (("--sort", "epochs"), [3, 1, 0, 2]),
        (("--sort", "val_loss"), [2, 0, 1, 3]),
        (("--sort", "last.val_loss"), [2, 0, 1, 3]),
        (("--sort", "state"), [0, 2, 3, 1]),
        (("--sort", "activation"), [0, 2, 1, 3]),
    ],
)
def test_trials_are_sorted_by_anything_and_those_without_a_value_are_last(numbers, flags, order):
    assert numbers(*flags) == order


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        (["lr<0.1"], [3, 1]),
        (["lr <= 1e-1"], [2, 3, 1]),
        (["lr>0.001", "lr<0.3"], [2, 3]),
        (["state=failed"], [1]),
        (["state!=complete"], [1, 3]),
        (["activation=TANH", "model.hidden>16"], [3]),
        (["model.hidden==24"], [2]),
        (["model.hidden=24.0"], [2]),
        (["val_loss<2"], [2]),
        (["last.val_loss>=5"], [0, 1]),
        (["value>0"], [2, 0]),
        (["value!=0.9"], [0, 1, 3]),
        (["number>=2", "epochs=3"], [2]),
        (["number>99"], []),
        (["reason=none"], [0, 2]),
        (["reason!=none"], [1, 3]),
    ],
)
def test_trials_are_filtered_by_all_conditions(numbers, conditions, left):
    flags = [flag for condition in conditions for flag in ("--filter", condition)]
    assert sorted(numbers(*flags)) == sorted(left)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--sort", "vall_loss"), "--sort vall_loss: there is no 'vall_loss' (did you mean 'val_loss'?)"),
        (("--filter", "lrr<1"), "--filter lrr: there is no 'lrr' (did you mean 'lr'?)"),
        (("--sort", "hidden"), "--sort hidden: say which of model.hidden, data.hidden"),
        (("--filter", "lr"), "--filter needs a name, one of = != < <= > >=, and a value, such as 'lr<0.01', got 'lr'"),
        (("--filter", "lr<small"), "--filter 'lr<small' needs a number after <, got 'small'"),
        (
            ("--filter", "state=complet"),
            "state='complet' is not one of waiting, running, complete, pruned, failed, diverged",
        ),
        (("--csv", "--json"), "show takes --json or --csv, not both"),
        (("--srot", "lr"), "unknown argument --srot (did you mean '--sort'?)"),
    ],
)
def test_what_is_wrong_is_one_line_and_code_2(run, root, flags, told):
    result = run(None, "show", root, *flags)
    assert result.code == 2
    assert told in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""


def test_no_code_is_run(run, root):
    result = run(None, "show", root, "--filter", "__import__('os').system('exit')=0")
    assert result.code == 2
    assert "there is no" in result.err


def test_csv_has_a_row_for_each_trial_that_other_programs_read(run, root):
    result = run(None, "show", root, "--csv")
    assert result.out.count("\r\n") == 5
    rows = list(csv.DictReader(io.StringIO(result.out, newline="")))
    assert [row["state"] for row in rows] == ["complete", "failed", "complete", "diverged"]
    assert rows[1]["reason"] == REASON
    assert float(rows[0]["hparams.model.lr"]) == LRS[0]
    best = rows[2]
    assert {name: best[name] for name in ("best.val_acc", "best.val_loss", "last.val_acc", "last.val_loss")} == {
        "best.val_acc": "0.9",
        "best.val_loss": "1.0",
        "last.val_acc": "0.7",
        "last.val_loss": "2.0",
    }
    assert (best["epochs"], best["seed"], best["seconds"], best["reason"]) == ("3", "12", "2.5", "")
    assert rows[3]["value"] == rows[3]["best.val_loss"] == ""


def test_csv_takes_filters_and_keeps_its_header_without_rows(run, root):
    [header, row] = run(None, "show", root, "--csv", "--filter", "state=failed").out.splitlines()[:2]
    assert row.startswith("1,failed,")
    assert run(None, "show", root, "--csv", "--filter", "number>9").out.splitlines() == [header]


def test_the_table_shows_states_and_what_was_asked_for(run, root):
    lines = run(None, "show", root, "--sort", "val_loss", "--filter", "lr>0.001").out.splitlines()
    assert lines[0] == "3 of 4 trials"
    words = [line.split() for line in lines]
    [heads] = [each for each in words if each[:1] == ["trial"]]
    assert heads == [
        "trial",
        "state",
        "val_acc",
        "best.val_loss",
        "model.lr",
        "model.hidden",
        "data.hidden",
        "model.activation",
    ]
    assert ["2", "complete", "0.9", "1", "0.1", "24", "2", "relu"] in words
    assert ["3", "diverged", "0.03", "32", "2", "tanh"] in words


def test_without_trials_to_show_only_their_number_is_told(run, root):
    assert run(None, "show", root, "--filter", "lr>1").out == "0 of 4 trials\n"


def test_of_many_the_first_twenty_are_shown(run, tmp_path):
    space = Space({"lr": Log(1e-4, 1.0)})
    asked = {"monitor": "loss", "mode": "min", "total": 30, "space": space.describe()}
    recorder = Recorder(tmp_path / "many", asked, frozenset(), space)
    for number, hparams in enumerate(space.sample(30)):
        recorder.record(Started(Trial(number, hparams, 0), 0.0))
        recorder.record(Finished(number, Outcome("complete", number / 7), 1.0))
    recorder.close()
    lines = run(None, "show", "many", "--sort", "number").out.splitlines()
    assert (lines[0], lines[-1]) == ("30 of 30 trials", "and 10 more: --all")
    assert "more: --all" not in run(None, "show", "many", "--sort", "number", "--all").out


def test_a_study_whose_first_trial_has_not_been_written_has_no_rows(run, tmp_path):
    asked = {"monitor": "val_acc", "mode": "max", "total": 4, "space": SPACE.describe()}
    Recorder(tmp_path / "new", asked, frozenset(), SPACE).close()
    assert run(None, "show", "new", "--sort", "epochs", "--filter", "lr<1").out == "0 of 0 trials\n"
    [header] = run(None, "show", "new", "--csv").out.splitlines()
    assert header.startswith("number,state,value,hparams.model.lr,")
    assert header.endswith(",epochs,seed,seconds,reason,checkpoint")
