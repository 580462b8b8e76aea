"""What is noted of where and how a trial trained."""

from __future__ import annotations

import torch

from lightning_hp import Log
from lightning_hp.fit.conditions import read_conditions
from lightning_hp.trial import trial_folder


def test_a_trial_notes_where_it_trained(search):
    study = search(trials=1).run()
    [conditions] = read_conditions(trial_folder(study.root, 0))
    assert (conditions.device, conditions.devices, conditions.together, conditions.step) == ("cpu", 1, 1, 0)
    assert conditions.torch == torch.__version__
    assert conditions.threads == torch.get_num_threads()
    assert conditions.exact


def test_trials_that_train_as_one_note_how_many(search):
    study = search(space={"lr": Log(1e-2, 0.3)}, fuse="always", trials=3).run()
    for number in range(3):
        [conditions] = read_conditions(trial_folder(study.root, number))
        assert conditions.together == 3
        assert not conditions.exact


def test_what_is_not_there_or_not_to_be_read_is_not_known(tmp_path):
    assert read_conditions(tmp_path) == []
    (tmp_path / "conditions.jsonl").write_text("{}\n")
    assert read_conditions(tmp_path) == []
