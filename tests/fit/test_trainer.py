"""A trial's Trainer: what the user's arguments come to in it."""

from __future__ import annotations

import pytest
from lightning.pytorch.profilers import SimpleProfiler

from lightning_hp import Log
from lightning_hp.trial import trial_folder

SPACE = {"lr": Log(1e-2, 0.3)}


@pytest.mark.parametrize("profiler", ["simple", "advanced", SimpleProfiler])
def test_what_a_profiler_reports_is_in_the_trials_folder(search, profiler):
    trainer = {"max_epochs": 1, "accelerator": "cpu", "limit_train_batches": 2, "profiler": profiler}
    study = search(space=SPACE, trials=2, trainer=trainer).run()
    for trial in study.trials:
        assert "training_step" in (trial_folder(study.root, trial.number) / "fit-profile.txt").read_text()


def test_a_profilers_own_file_stays(search, tmp_path):
    profiler = lambda trial: SimpleProfiler(tmp_path, f"mine{trial.number}")  # noqa: E731
    trainer = {"max_epochs": 1, "accelerator": "cpu", "limit_train_batches": 2, "profiler": profiler}
    search(space=SPACE, trials=2, trainer=trainer).run()
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["fit-mine0.txt", "fit-mine1.txt"]
