"""A search or a repair that is killed before any of its system calls: what was told to be written is there, nothing is half."""

from __future__ import annotations

import shutil
import sys

import pytest

from lightning_hp import Choice, ConfigError, Log, Space, StorageError, Study, Trial
from lightning_hp.study import Recorder
from lightning_hp.study import recorder as recorder_module
from lightning_hp.study.config import write_config
from lightning_hp.study.records import repair
from lightning_hp.trial import EpochEnded, Finished, Outcome, Started
from tests.study.system_calls import run_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="system calls are traced as Linux does")

SPACE = Space({"lr": Log(0.1, 1.0), "cell": Choice(dict, list)})
ASKED = {"monitor": "val_acc", "mode": "max", "trials": 4, "seed": 0, "space": SPACE.describe()}
OUTCOMES = [
    Outcome("complete", value=0.5, epochs=1, metrics={"val_acc": [0.5]}),
    Outcome("failed", reason="RuntimeError: x", traceback="a traceback"),
    Outcome("pruned", value=0.25, epochs=1, metrics={"val_acc": [0.25]}, reason="no hope"),
    Outcome("complete", value=0.75, epochs=1, metrics={"val_acc": [0.75]}),
]
# One in so many system calls of a scenario, spread over it; all of them take minutes.
EVERY = pytest.mark.parametrize("every", [41, pytest.param(1, marks=pytest.mark.exhaustive)])


@pytest.fixture(autouse=True)
def every_event_is_written(monkeypatch):
    monkeypatch.setattr(recorder_module, "UPDATE_INTERVAL", 0.0)


def search(root, note=lambda note: None, outcomes=OUTCOMES, **changes):
    """Runs the trials that the study lacks, all with the same outcomes each time."""
    recorder = Recorder(root, {**ASKED, "trials": len(outcomes), **changes}, frozenset({"trials"}), SPACE)
    try:
        write_config(root, {"search": {"seed": 0}})
        finished = {trial.number for trial in recorder.trials() if trial.finished}
        for number in sorted(set(range(len(outcomes))) - finished):
            recorder.record(Started(Trial(number, {"lr": 0.5, "cell": dict}, seed=number), time=1.0))
            recorder.record(EpochEnded(number, 0, {"val_acc": 0.5}))
            recorder.record(Finished(number, outcomes[number], time=2.0))
            note(str(number))
    finally:
        recorder.close()


def table(root):
    return {trial.number: trial for trial in Study(root, SPACE).trials if trial.finished}


def kill_points(run, every):
    """Numbers of system calls at which to kill."""
    try:
        _, calls = run_until(None, run)
    except PermissionError:
        pytest.skip("this machine lets no process trace another")
    return range(0, calls + 1, every)


def read(root):
    """The finished trials as any reader sees them; none where no search has begun."""
    try:
        return table(root)
    except ConfigError as error:
        told = str(error)
    assert "no search has begun" in told or "holds no study" in told
    return {}


def check_survives(root, make_before, run, expected, every):
    """Kills ``run`` at one system call after the other, each time in a folder made anew, and lets the search go on."""

    def anew():
        shutil.rmtree(root, ignore_errors=True)
        make_before()

    anew()
    for call in kill_points(run, every):
        anew()
        told, _ = run_until(call, run)
        found = read(root)
        assert found.items() <= expected.items(), f"a trial differs after a kill at call {call}"
        assert {int(number) for number in told} <= found.keys(), f"a trial is lost after a kill at call {call}"
        run(lambda note: None)
        assert table(root) == expected, f"the search did not go on to the same table after a kill at call {call}"
        (root / "study.db").unlink()
        repair(root)
        assert table(root) == expected, f"the records are not those of the table after a kill at call {call}"


@EVERY
def test_a_search_that_is_killed_goes_on_to_the_same_table(tmp_path, every):
    root = tmp_path / "study"
    search(root)
    expected = table(root)
    check_survives(root, lambda: None, lambda note: search(root, note), expected, every)


@EVERY
def test_a_search_that_is_killed_while_it_adds_trials_goes_on_to_the_same_table(tmp_path, every):
    root = tmp_path / "study"
    search(root)
    expected = table(root)
    check_survives(root, lambda: search(root, outcomes=OUTCOMES[:2]), lambda note: search(root, note), expected, every)


@EVERY
def test_a_search_that_is_killed_while_it_replaces_one_in_which_all_failed_leaves_nothing_of_that(tmp_path, every):
    root = tmp_path / "study"
    failures = [Outcome("failed", reason="RuntimeError: x")] * 3
    changed = [Outcome("complete", value=0.5), Outcome("complete", value=0.75)]

    def run(note):
        search(root, outcomes=changed, seed=1)

    def make_before():
        search(root, outcomes=failures)

    run(None)
    expected = table(root)
    shutil.rmtree(root)
    make_before()
    failed = table(root)
    for call in kill_points(run, every):
        shutil.rmtree(root)
        make_before()
        run_until(call, run)
        before = Study(root).asked["seed"] == 0
        assert table(root).items() <= (failed if before else expected).items()
        run(None)
        assert table(root) == expected
        (root / "study.db").unlink()
        repair(root)
        assert table(root) == expected


@EVERY
def test_a_repair_that_is_killed_can_be_run_again_and_is_never_taken_for_a_whole_one(tmp_path, every):
    root = tmp_path / "study"
    search(tmp_path / "whole")
    expected = table(tmp_path / "whole")

    def damage():
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", root)
        (root / "study.db").write_bytes(b"damaged" * 1000)

    damage()
    for call in kill_points(lambda note: repair(root), every):
        damage()
        run_until(call, lambda note: repair(root))
        told = None
        try:
            search(root)
        except StorageError as error:
            told = str(error)
        if told is not None:
            assert "lightning-hp repair" in told
            repair(root)
        assert table(root) == expected
        assert b"damaged" * 1000 in [path.read_bytes() for path in root.glob("study.db.damaged*")]
