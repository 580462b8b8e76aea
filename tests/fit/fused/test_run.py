"""What shows or measures a loop, in a fit that has one loop for all trials."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar

from lightning_hp.trial import trial_folder
from tests.fit.fused.digits import Classifier, trained


class Counts:
    """Of a progress bar, how often it begins an epoch, and of which module."""

    begun: list

    def on_train_epoch_start(self, trainer, pl_module):
        Counts.begun.append(type(pl_module).__name__)
        super().on_train_epoch_start(trainer, pl_module)


class Rich(Counts, RichProgressBar):
    pass


class Tqdm(Counts, TQDMProgressBar):
    pass


@pytest.mark.parametrize("bar", [Rich, Tqdm])
def test_one_progress_bar_shows_the_fit_of_all(tmp_path, bar):
    Counts.begun = []
    outcomes = trained(Classifier, tmp_path, True, trainer={"enable_progress_bar": True, "callbacks": [bar]})
    assert [outcome.state for outcome in outcomes.values()] == ["complete"] * 3, outcomes[1].traceback
    assert Counts.begun == ["FusedModule"] * 2


def test_lightnings_own_progress_bar_hurts_no_trial(tmp_path, capsys):
    outcomes = trained(Classifier, tmp_path, True, trainer={"enable_progress_bar": True})
    assert [outcome.state for outcome in outcomes.values()] == ["complete"] * 3, outcomes[1].traceback


def test_summaries_are_of_the_trials_models(tmp_path, capsys):
    trained(Classifier, tmp_path, True, trainer={"enable_model_summary": True})
    told = capsys.readouterr().out
    assert told.count("Total params") == told.count("Total params: 2.4 K") == 3


@pytest.mark.parametrize("profiler", ["simple", "advanced", "pytorch"])
def test_a_profiler_measures_the_fit_of_all_once(tmp_path, monkeypatch, profiler):
    monkeypatch.chdir(tmp_path)
    outcomes = trained(Classifier, tmp_path / "study", True, trainer={"profiler": profiler})
    assert [outcome.state for outcome in outcomes.values()] == ["complete"] * 3, outcomes[0].traceback
    reports = {number: trial_folder(tmp_path / "study", number) / "fit-profile.txt" for number in outcomes}
    assert [number for number, report in reports.items() if report.exists()] == [0]
    assert "Profiler Report" in reports[0].read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
