"""A finished study of made-up trials."""

from __future__ import annotations

from pathlib import Path

from lightning_hp import Space, Trial
from lightning_hp.study.recorder import Recorder
from lightning_hp.trial import Finished, Outcome, Started
from tests.advice.studies import trials


def record_parabola(root: Path, space: Space, name: str) -> None:
    """Records 40 trials, which are the better the further a hyperparameter lies from the middle of its scale."""

    def objective(unit, hparams, generator):
        return 4 * (unit[name] - 0.5) ** 2 + 0.05 * generator.standard_normal()

    asked = {"monitor": "val_acc", "mode": "max", "total": 40, "space": space.describe()}
    recorder = Recorder(root, asked, frozenset(), space)
    for trial in trials(objective, 40, mode="max", space=space):
        recorder.record(Started(Trial(trial.number, trial.hparams, 0), 0.0))
        recorder.record(Finished(trial.number, Outcome("complete", value=trial.value), 1.0))
    recorder.close()
