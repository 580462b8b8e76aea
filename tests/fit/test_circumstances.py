"""What is noted of where and how a trial trained."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, replace

import pytest
import torch

from lightning_hp import Log, Study
from lightning_hp.attempts import FILE, Circumstances, read_circumstances
from lightning_hp.errors import StorageError
from lightning_hp.trial import trial_folder


def test_a_trial_notes_where_it_trained(search):
    study = search(trials=1).run()
    [circumstances] = read_circumstances(trial_folder(study.root, 0))
    assert (circumstances.device, circumstances.devices, circumstances.together, circumstances.step) == ("cpu", 1, 1, 0)
    assert circumstances.torch == torch.__version__
    assert circumstances.threads == torch.get_num_threads()
    assert circumstances.exact


def test_trials_that_train_as_one_note_how_many(search):
    study = search(space={"lr": Log(1e-2, 0.3)}, fuse="always", trials=3).run()
    for number in range(3):
        [circumstances] = read_circumstances(trial_folder(study.root, number))
        assert circumstances.together == 3
        assert not circumstances.exact


def test_what_is_not_there_or_not_to_be_read_is_not_known(tmp_path):
    assert read_circumstances(tmp_path) == []
    (tmp_path / "conditions.jsonl").write_text("{}\n")
    assert read_circumstances(tmp_path) == []


def test_an_attempt_of_which_nothing_remains_is_left_out(tmp_path):
    begun = Circumstances("here", "cpu", 1, 1, "2.9", together=1)
    # Refused as one with others, then by itself, from the same checkpoint.
    attempts = [begun, replace(begun, step=30), replace(begun, together=4, step=60), replace(begun, step=60)]
    (tmp_path / FILE).write_text("".join(f"{json.dumps(asdict(each))}\n" for each in attempts))
    assert read_circumstances(tmp_path) == [begun, replace(begun, step=30), replace(begun, step=60)]


def test_a_full_disk_ends_the_search_and_no_trial_of_those_that_train_as_one(search, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lightning_hp.fit.fused.run.note_circumstances", full)
    loop = search(space={"lr": Log(1e-2, 0.3)}, fuse="always")
    with pytest.raises(StorageError, match="No space left"):
        loop.run()
    assert not any(trial.finished for trial in Study(loop.root).trials)
