"""What a study says of its trials: the same whether it is opened by the search or alone."""

from __future__ import annotations

from dataclasses import replace

from lightning_hp import Space, Study, Trial
from lightning_hp.advice import advice, find
from lightning_hp.study import Recorder
from lightning_hp.trial import Finished, Outcome, RoundBegan, Started
from tests.advice.studies import SPACE, trials


class Cell:
    pass


def objective(unit, hparams, generator):
    return 4 * (unit["lr"] - 0.5) ** 2 + 0.05 * generator.standard_normal()


def recorded(root, made, space=SPACE, mode="min", **asked):
    recorder = Recorder(root, {"monitor": "val_loss", "mode": mode, "space": space.describe(), **asked}, frozenset(), space)
    for trial in made:
        recorder.record(Started(Trial(trial.number, trial.hparams, 0), 0.0))
        recorder.record(Finished(trial.number, Outcome("complete", value=trial.value), 1.0))
    recorder.record(RoundBegan(16, "0-15"))
    recorder.close()


def test_advice_importance_and_zoom_come_from_the_trials(tmp_path):
    recorded(tmp_path, trials(objective))
    study = Study(tmp_path, SPACE)
    lines = study.advice()
    assert "lr matters: about" in str(lines[0])
    assert (lines[0].kind, lines[0].hparam) == ("matters", "lr")
    assert lines[-1].kind == "trials"
    assert "like the latest" in str(lines[-1])
    important = study.importance()
    assert list(important) == list(SPACE)
    assert 0 < important["lr"].low < important["lr"].share < important["lr"].high <= 1
    assert str(important["lr"]).startswith("matters: ")
    zoomed = study.zoom()
    assert SPACE["lr"].low < zoomed["lr"].low < SPACE["lr"].from_unit(0.5) < zoomed["lr"].high < SPACE["lr"].high
    assert {name: scale for name, scale in zoomed.items() if name != "lr"}.items() <= dict(SPACE).items()
    assert (Study(tmp_path).advice(), Study(tmp_path).zoom()) == (lines, zoomed)


def test_what_trials_say_is_looked_for_again_only_once_there_are_others(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr("lightning_hp.study.study.find", lambda *given, **named: looks.append(given) or find(*given, **named))
    made = trials(objective)
    recorded(tmp_path, made)
    study = Study(tmp_path)
    assert study.importance() == Study(tmp_path).importance()
    looks.clear()
    assert (study.advice(), study.zoom()) == (advice(study.findings()), study.findings().next_space)
    assert looks == []
    recorded(tmp_path, [replace(made[0], number=len(made))])
    assert study.findings().finished == len(made) + 1
    assert len(looks) == 1


def test_choices_of_any_objects_stay_the_users_own(tmp_path):
    space = Space({"lr": SPACE["lr"], "cell": {"scale": "choice", "values": [Cell, dict]}})
    recorded(tmp_path, trials(objective, space=space), space)
    assert Study(tmp_path, space).zoom()["cell"].values == (Cell, dict)


def test_a_study_without_trials_says_that_it_cannot_tell(tmp_path):
    recorded(tmp_path, [])
    assert [str(each) for each in Study(tmp_path).advice()] == [
        "0 finished trials do not tell whether any of the hyperparameters matters"
    ]
    assert Study(tmp_path).zoom() == SPACE


def test_a_grid_is_not_said_to_improve_with_more_trials_like_its_own(tmp_path):
    recorded(tmp_path, trials(objective), strategy="grid")
    lines = Study(tmp_path).advice()
    assert "matters" in {each.kind for each in lines}
    assert "trials" not in {each.kind for each in lines}
