"""Trials on machines of a real Ray cluster that do not see the study's folder: files by way of a storage, and requests."""

from __future__ import annotations

import threading
import time

import pytest

from examples.digits import LitDigits
from lightning_hp import Babysitter, Halving, RayCluster, Study
from lightning_hp.babysit import log
from lightning_hp.cli import main
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.trial import trial_folder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")]


@pytest.fixture(scope="module", autouse=True)
def two(machines):
    """Two machines with room for one job each."""
    return [machines.add(), machines.add()]


def rows(study):
    return [(trial.number, trial.hparams, trial.state, trial.value, trial.epochs, trial.metrics) for trial in study.trials]


def names(root):
    """The files of the trials, without what their names have of the process that wrote them."""
    paths = (path.relative_to(root).as_posix() for path in root.glob("trials/**/*") if path.is_file())
    return sorted({path.partition(".tfevents")[0] for path in paths if not path.endswith("last.previous.ckpt")})


def test_by_way_of_a_storage_a_pruned_search_ends_as_it_does_inline_and_leaves_nothing_there(search, tmp_path):
    settings = {"trials": 4, "pruner": Halving(first=1), "trainer": {"max_epochs": 3, "accelerator": "cpu"}}
    expected = search(root_dir=tmp_path / "inline", **settings).run()
    place = tmp_path / "storage"
    executor = RayCluster(shared=False, storage=place.as_uri())
    study = search(root_dir=tmp_path / "study", executor=executor, **settings).run()
    assert rows(study) == rows(expected)
    assert {trial.state for trial in study.trials} == {"complete", "pruned"}
    assert study.best.load() is not None
    assert names(tmp_path / "study") == names(tmp_path / "inline")
    assert [path for path in place.rglob("*") if path.is_file()] == []


def test_a_person_changes_and_stops_a_trial_that_trains_on_another_machine(search, tmp_path, capsys):
    root, codes = tmp_path / "study", []

    def give(*command):
        try:
            codes.append(main(command))
        except SystemExit as exit_:
            codes.append(exit_.code)

    def steer():
        # Until the trial trains it is refused.
        while codes.count(0) == 0 and len(codes) < 600:
            time.sleep(0.1)
            give("nudge", str(root), "0", "lr=x0.5")
        give("nudge", str(root), "0", "lr=1e9")
        give("stop", str(root), "0")

    person = threading.Thread(target=steer)
    person.start()
    loop = search(
        LitDigits,
        root_dir=root,
        executor=RayCluster(shared=False),
        babysit=Babysitter(patience=10_000),
        trials=1,
        trainer={"max_epochs": 100_000, "accelerator": "cpu", "limit_train_batches": 4, "limit_val_batches": 1},
    )
    study = loop.run()
    person.join()
    assert codes[-3:] == [0, 2, 0]
    captured = capsys.readouterr()
    assert [line[:20] for line in captured.out.splitlines() if line.startswith("trial 0: done")] == ["trial 0: done in epo"] * 2
    assert "the study searches lr from 0.01 to 1" in captured.err
    assert study.trials[0].state == "complete"
    folder = trial_folder(root, 0)
    asked = [each for each in log.read(folder / log.FILE) if each.event == "request"]
    assert [each.detail["request"]["kind"] for each in asked] == ["nudge", "stop"]
    assert asked[0].after[0].lr == pytest.approx(asked[0].before[0].lr / 2)
    assert not (folder / "babysit.lock").exists()
    assert not (folder / "babysit.requests").exists()
    assert Study(root).trials[0].epochs == study.trials[0].epochs
