"""Study and Recorder: what users read is what the search recorded, and another search is refused."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys

import pytest

from lightning_hp import Choice, ConfigError, Log, Space, StorageError, Study, Trial
from lightning_hp.study import Recorder
from lightning_hp.study import recorder as recorder_module
from lightning_hp.study.records import repair
from lightning_hp.trial import EpochEnded, Finished, Judged, Outcome, Paused, Started, add_epoch

SPACE = Space({"lr": Log(0.1, 1.0), "cell": Choice(dict, list)})
ASKED = {"monitor": "val_acc", "mode": "max", "trials": 9, "seed": 0, "space": SPACE.describe()}
FREE = frozenset({"trials"})


@pytest.fixture
def recorded(tmp_path):
    """Makes a study of these outcomes."""

    def record(outcomes, mode="max"):
        recorder = Recorder(tmp_path, {**ASKED, "mode": mode}, FREE, SPACE)
        for number, outcome in enumerate(outcomes):
            recorder.record(Started(Trial(number, {"lr": 0.5, "cell": dict}, seed=number), time=1.0))
            recorder.record(Finished(number, outcome, time=2.0))
        recorder.close()
        return Study(tmp_path, SPACE)

    return record


def test_the_best_is_the_best_complete_trial_and_of_equals_the_first(recorded):
    outcomes = [
        Outcome("failed"),
        Outcome("complete", value=0.7),
        Outcome("complete", value=0.9),
        Outcome("pruned", value=0.99),
        Outcome("diverged"),
        Outcome("complete", value=0.9),
    ]
    study = recorded(outcomes)
    assert study.best.number == 2
    assert [trial.number for trial in study.leaderboard()] == [2, 5, 1]


def test_for_min_the_lowest_comes_first(recorded):
    study = recorded([Outcome("complete", value=value) for value in (0.3, -0.1, 0.2)], mode="min")
    assert [trial.number for trial in study.leaderboard()] == [1, 2, 0]


def test_without_a_complete_trial_there_is_no_best(recorded):
    study = recorded([Outcome("failed"), Outcome("diverged"), Outcome("failed")])
    with pytest.raises(LookupError, match="is complete: 1 diverged, 2 failed"):
        _ = study.best


def test_without_a_complete_trial_the_commonest_failure_is_told(recorded):
    study = recorded([Outcome("failed", reason="OSError: gone"), *[Outcome("failed", reason="KeyError: 'x'")] * 2])
    told = r"3 failed; trial 1 failed: KeyError: 'x' \(see trials\[1\]\.traceback\)"
    with pytest.raises(LookupError, match=told):
        _ = study.best


def test_where_all_diverged_the_best_says_how(recorded):
    study = recorded([Outcome("diverged", reason="loss is nan in epoch 0, step 3")] * 2)
    with pytest.raises(LookupError, match=r"is complete: 2 diverged; trial 0 diverged: loss is nan in epoch 0, step 3$"):
        _ = study.best


def test_choices_come_back_as_the_users_objects_and_without_the_space_as_names(recorded):
    study = recorded([Outcome("complete", value=1.0)])
    assert study.best.hparams == {"lr": 0.5, "cell": dict}
    assert Study(study.root).best.hparams == {"lr": 0.5, "cell": "dict"}


def test_a_study_opened_alone_cannot_load(recorded):
    study = recorded([Outcome("complete", value=1.0)])
    with pytest.raises(LookupError, match=r"needs the study of SearchLoop\.run.*YourModule\.load_from_checkpoint"):
        study.best.load()


def test_as_plain_values_it_is_strict_json_with_the_documented_keys(recorded):
    study = recorded(
        [Outcome("complete", value=0.5, epochs=2, metrics={"loss": [math.nan, 0.1]}), Outcome("failed", reason="x")]
    )
    plain = json.loads(json.dumps(Study(study.root).to_dict(), allow_nan=False))
    assert list(plain) == ["study", "best", "trials"]
    assert plain["best"] == 0
    assert plain["study"].items() >= ASKED.items()
    keys = ["number", "state", "value", "hparams", "seed", "epochs", "metrics", "reason", "checkpoint"]
    assert [list(trial) for trial in plain["trials"]] == [keys, keys]
    assert plain["trials"][0]["metrics"] == {"loss": [None, 0.1]}


def test_a_folder_without_a_study_is_told(tmp_path):
    with pytest.raises(ConfigError, match="holds no study"):
        Study(tmp_path)


# The recorder


def record(root, *outcomes, **changes):
    """Records trials that end so, in one run of a search."""
    recorder = Recorder(root, {**ASKED, **changes}, FREE, SPACE)
    for number, outcome in enumerate(outcomes):
        recorder.record(Started(Trial(number, {"lr": 0.5, "cell": dict}, seed=number), time=1.0))
        recorder.record(Finished(number, outcome, time=2.0))
    recorder.close()


def test_while_nothing_but_failures_has_finished_they_are_run_again_and_the_search_may_change(tmp_path):
    record(tmp_path, Outcome("failed"), Outcome("failed"))
    (tmp_path / "trials/000000/left").write_text("from the failed trial")
    record(tmp_path)
    assert Study(tmp_path).trials == []
    assert not (tmp_path / "trials/000000").exists()
    record(tmp_path, Outcome("failed"), monitor="val_loss")
    assert Study(tmp_path).asked["monitor"] == "val_loss"


def test_failures_stay_once_something_else_has_finished(tmp_path):
    record(tmp_path, Outcome("failed"), Outcome("diverged"))
    record(tmp_path)
    assert [trial.state for trial in Study(tmp_path).trials] == ["failed", "diverged"]


def test_a_second_search_in_the_folder_is_told_whose_it_is_and_may_come_later(tmp_path):
    recorder = Recorder(tmp_path, ASKED, FREE, SPACE)
    holder = f"process {os.getpid()} on host {socket.gethostname()}"
    with pytest.raises(StorageError, match=f"is in use by another search, {holder}"):
        Recorder(tmp_path, ASKED, FREE, SPACE)
    recorder.close()
    record(tmp_path)


def test_the_lock_of_a_dead_process_holds_nobody(tmp_path):
    script = f"""
import os, signal
from lightning_hp.study import Recorder
from lightning_hp import Log, Space
Recorder(__import__("pathlib").Path({str(tmp_path)!r}), {{"seed": 0}}, frozenset(), Space({{"lr": Log(0.1, 1.0)}}))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    record(tmp_path, seed=5)


def test_a_study_that_is_gone_is_not_begun_anew_over_its_trials(tmp_path):
    record(tmp_path, Outcome("complete", value=0.5))
    for spoil in (lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        spoil(tmp_path / "study.db")
        with pytest.raises(StorageError, match="lightning-hp repair"):
            record(tmp_path)


def test_a_damaged_study_is_left_alone_and_rebuilt_from_the_trials_records(tmp_path):
    record(tmp_path, Outcome("complete", value=0.5, metrics={"val_acc": [0.5]}), Outcome("failed", reason="x", traceback="y"))
    before = (Study(tmp_path).asked, Study(tmp_path).trials)
    whole = (tmp_path / "study.db").read_bytes()
    spoilt = whole[:4096] + b"\xff" * 4096 + whole[8192:]
    (tmp_path / "study.db").write_bytes(spoilt)
    with pytest.raises(StorageError, match=r"(?s)is damaged.*lightning-hp repair"):
        record(tmp_path)
    assert (tmp_path / "study.db").read_bytes() == spoilt
    repaired = repair(tmp_path)
    assert (repaired.trials, repaired.unreadable) == (2, [])
    assert repaired.old.read_bytes() == spoilt
    assert (Study(tmp_path).asked, Study(tmp_path).trials) == before
    record(tmp_path)


def test_a_repair_tells_the_records_that_it_cannot_read(tmp_path):
    record(tmp_path, Outcome("complete", value=0.5), Outcome("complete", value=0.6))
    bad = tmp_path / "trials/000001/trial.json"
    bad.write_text(bad.read_text()[:50])
    repaired = repair(tmp_path)
    assert (repaired.trials, repaired.unreadable) == (1, [bad])
    with pytest.raises(ConfigError, match="no record of a finished trial"):
        repair(tmp_path / "elsewhere")


def test_onlookers_see_a_running_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "UPDATE_INTERVAL", 0.0)
    recorder = Recorder(tmp_path, ASKED, FREE, SPACE)
    recorder.record(Started(Trial(0, {"lr": 0.5, "cell": list}, seed=1), time=1.0))
    recorder.record(EpochEnded(0, epoch=0, metrics={"val_acc": 0.25}))
    (trial,) = Study(tmp_path).trials
    assert (trial.state, trial.epochs, trial.metrics) == ("running", 1, {"val_acc": [0.25]})
    recorder.close()
    (trial,) = Study(tmp_path).trials
    assert (trial.state, trial.reason) == ("waiting", "interrupted: the same search goes on with it")


def two_running(root):
    recorder = Recorder(root, ASKED, FREE, SPACE, keep=1)
    for number in range(2):
        recorder.record(Started(Trial(number, {"lr": 0.5, "cell": dict}, seed=number), time=1.0))
    return recorder


def finished(root):
    return [trial.number for trial in Study(root, SPACE).trials if trial.finished]


def test_trials_that_end_together_are_written_together(tmp_path):
    recorder = two_running(tmp_path)
    best = tmp_path / "trials/000000/checkpoints/best.ckpt"
    best.parent.mkdir(parents=True)
    best.touch()
    recorder.record(Finished(0, Outcome("complete", value=0.7, checkpoint=best), time=2.0, more=True))
    assert finished(tmp_path) == []
    assert best.exists()
    recorder.record(Finished(1, Outcome("complete", value=0.9), time=2.0))
    assert finished(tmp_path) == [0, 1]
    # Of one that is no longer among the best, no checkpoint is named that is not there.
    assert Study(tmp_path, SPACE).trials[0].checkpoint is None
    assert not best.exists()
    recorder.close()


def test_of_trials_that_end_together_those_that_came_are_written_before_anything_else(tmp_path):
    recorder = two_running(tmp_path)
    recorder.record(Finished(0, Outcome("complete", value=0.7), time=2.0, more=True))
    recorder.record(EpochEnded(1, 0, {"val_acc": 0.5}))
    assert finished(tmp_path) == [0]
    recorder.record(Finished(1, Outcome("complete", value=0.9), time=2.0, more=True))
    recorder.close()
    assert finished(tmp_path) == [0, 1]


def test_a_trial_that_waits_at_a_rung_is_seen_to_do_so(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "UPDATE_INTERVAL", 0.0)
    recorder = Recorder(tmp_path, ASKED, FREE, SPACE)
    started = Started(Trial(0, {"lr": 0.5, "cell": list}, seed=1), time=1.0)
    recorder.record(started)
    recorder.record(Paused(0, Outcome("pruned", 0.25, 1, {"val_acc": [0.25]}), 2.0))
    (trial,) = Study(tmp_path).trials
    assert (trial.state, trial.epochs, trial.metrics) == ("waiting", 1, {"val_acc": [0.25]})
    assert trial.reason == "paused: it is not decided yet who goes on"
    recorder.record(started)
    assert [trial.state for trial in Study(tmp_path).trials] == ["running"]
    recorder.close()


def test_what_a_pruner_has_decided_is_read_back_and_goes_with_the_search(tmp_path):
    recorder = Recorder(tmp_path, ASKED, FREE, SPACE)
    decided = [Judged(1, {0: 0.5, 1: 0.25, 2: None}, frozenset({0})), Judged(3, {0: 0.75}, frozenset())]
    for judged in reversed(decided):
        recorder.record(judged)
    recorder.close()
    assert Study(tmp_path).rungs == decided
    same = Recorder(tmp_path, ASKED, FREE, SPACE)
    assert same.judged() == decided
    same.close()
    Recorder(tmp_path, {**ASKED, "seed": 1}, FREE, SPACE).close()
    assert Study(tmp_path).rungs == []


def test_epochs_are_written_no_more_often_than_onlookers_need(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "UPDATE_INTERVAL", 1e9)
    recorder = Recorder(tmp_path, ASKED, FREE, SPACE)
    recorder.record(Started(Trial(0, {"lr": 0.5, "cell": list}, seed=1), time=1.0))
    for epoch in range(5):
        recorder.record(EpochEnded(0, epoch=epoch, metrics={"val_acc": 0.25}))
    assert Study(tmp_path).trials[0].epochs == 0
    recorder.record(Finished(0, Outcome("complete", value=0.25, epochs=5), time=2.0))
    assert Study(tmp_path).trials[0].epochs == 5
    recorder.close()


def test_what_is_free_may_change_and_is_written_down(tmp_path):
    Recorder(tmp_path, ASKED, FREE, SPACE).close()
    Recorder(tmp_path, {**ASKED, "trials": 20}, FREE, SPACE).close()
    assert Study(tmp_path).asked["trials"] == 20


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 3}, "seed was 0, is 3"),
        ({"monitor": "val_loss"}, "monitor was 'val_acc', is 'val_loss'"),
        (
            {"space": Space({**SPACE, "lr": Log(0.1, 2.0)}).describe()},
            "space['lr'] was {'scale': 'log', 'low': 0.1, 'high': 1.0}",
        ),
        (
            {"space": Space({"lr": SPACE["lr"]}).describe()},
            "space['cell'] is gone",
        ),
        (
            {"space": Space({name: SPACE[name] for name in ("cell", "lr")}).describe()},
            "another order: was ['lr', 'cell'], is ['cell', 'lr']",
        ),
    ],
)
def test_another_search_is_refused_with_the_difference_and_nothing_changes(tmp_path, change, told):
    record(tmp_path, Outcome("complete", value=0.5))
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(ConfigError) as error:
        Recorder(tmp_path, {**ASKED, **change}, FREE, SPACE)
    assert told in str(error.value)
    assert "Take another folder" in str(error.value)
    assert (tmp_path / "study.db").read_bytes() == before


def test_a_history_keeps_one_value_an_epoch_for_every_metric():
    history = {}
    add_epoch(history, 0, {"train_loss": 1.0})
    add_epoch(history, 1, {"train_loss": 0.5, "val_loss": 0.7})
    add_epoch(history, 2, {"val_loss": 0.6})
    assert history == {"train_loss": [1.0, 0.5, None], "val_loss": [None, 0.7, 0.6]}
