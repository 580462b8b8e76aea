"""A study as one of Optuna's: what its importances, pictures and dashboard are given."""

from __future__ import annotations

import math
import re
import sys

import pytest

from lightning_hp import Choice, ConfigError, Int, Linear, Log, LogInt, Random, ReverseLog, Space, Study, Trial
from lightning_hp.study import Recorder
from lightning_hp.trial import EpochEnded, Finished, Outcome, Started

SPACE = Space(
    {
        "lr": Log(1e-4, 1.0),
        "dropout": Linear(0.0, 0.5),
        "momentum": ReverseLog(0.9, 0.999),
        "layers": Int(1, 4),
        "data.batch_size": LogInt(16, 256),
        "cell": Choice(dict, list),
        "norm": Choice(True, 1, None),
    }
)
FIRST = {
    "lr": 0.01,
    "dropout": 0.25,
    "momentum": 0.99,
    "layers": 3,
    "data.batch_size": 64,
    "cell": dict,
    "norm": True,
}
NEEDS_OPTUNA = "these make studies of Optuna: pip install 'lightning-hp[optuna]'"


def asked(mode):
    return {"monitor": "val_acc", "mode": mode, "trials": None, "seed": 0, "space": SPACE.describe()}


@pytest.fixture
def recorded(tmp_path):
    """Makes a study of trials with these outcomes, or goes on with it; each curve is that of the monitored metric."""

    def record(*outcomes, mode="max", hparams=(FIRST,), root=tmp_path / "digits"):
        drawn = [*hparams, *Random().propose(SPACE, 0, range(len(outcomes)), [])]
        recorder = Recorder(root, asked(mode), frozenset({"trials"}), SPACE)
        there = len(recorder.trials())
        for number, outcome in list(enumerate(outcomes))[there:]:
            recorder.record(Started(Trial(number, drawn[number], seed=100 + number), time=1000.0 + number))
            for epoch, value in enumerate(outcome.metrics.get("val_acc", [])):
                recorder.record(EpochEnded(number, epoch, {} if value is None else {"val_acc": value}))
            recorder.record(Finished(number, outcome, time=2000.0 + number))
        recorder.close()
        return Study(root, SPACE)

    return record


OUTCOMES = [
    Outcome("complete", 0.9, 3, {"val_acc": [0.5, None, 0.9], "val_loss": [1.0, 2.0, 3.0]}),
    Outcome("pruned", 0.4, 1, {"val_acc": [0.4]}, reason="worse than others"),
    Outcome("diverged", None, 2, {"val_acc": [0.1, 0.1]}, reason="val_loss is NaN"),
    Outcome("failed", reason="RuntimeError: no memory"),
    Outcome("complete", 0.7, 1, {"val_acc": [0.7]}),
]


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason=NEEDS_OPTUNA)


def test_each_trial_has_its_state_value_curve_and_times(recorded, optuna):
    study = recorded(*OUTCOMES).to_optuna()
    state = optuna.trial.TrialState
    assert [trial.state for trial in study.trials] == [state.COMPLETE, state.PRUNED, state.FAIL, state.FAIL, state.COMPLETE]
    assert [trial.value for trial in study.trials] == [0.9, 0.4, None, None, 0.7]
    assert [trial.intermediate_values for trial in study.trials] == [{0: 0.5, 2: 0.9}, {0: 0.4}, {0: 0.1, 1: 0.1}, {}, {0: 0.7}]
    assert [trial.datetime_start.timestamp() for trial in study.trials] == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]
    assert all(trial.duration.total_seconds() == 1000.0 for trial in study.trials)
    assert study.best_trial.number == 0
    assert study.metric_names == ["val_acc"]


@pytest.mark.parametrize(("mode", "best"), [("max", 0), ("min", 4)])
def test_its_direction_is_the_searchs(recorded, optuna, mode, best):
    study = recorded(*OUTCOMES, mode=mode).to_optuna()
    assert study.direction.name == {"max": "MAXIMIZE", "min": "MINIMIZE"}[mode]
    assert study.best_trial.number == best


def test_hyperparameters_keep_their_values_and_their_scales_where_optuna_has_them(recorded, optuna):
    (trial, *_) = recorded(*OUTCOMES).to_optuna().trials
    floats, ints, choices = (getattr(optuna.distributions, f"{kind}Distribution") for kind in ("Float", "Int", "Categorical"))
    assert trial.params == {**FIRST, "cell": "dict", "norm": "True"}
    assert trial.distributions == {
        "lr": floats(1e-4, 1.0, log=True),
        "dropout": floats(0.0, 0.5),
        "momentum": floats(0.9, 0.999),
        "layers": ints(1, 4),
        "data.batch_size": ints(16, 256, log=True),
        "cell": choices(["dict", "list"]),
        "norm": choices(["True", "1", "None"]),
    }
    assert trial.user_attrs["momentum (unit)"] == pytest.approx(0.5)


def test_what_optuna_has_no_place_for_is_in_the_user_attributes(recorded, tmp_path, optuna):
    checkpoint = tmp_path / "digits" / "trials" / "000000" / "checkpoints" / "best.ckpt"
    first = Outcome("complete", 0.9, 3, checkpoint=checkpoint)
    trials = recorded(first, *OUTCOMES[1:]).to_optuna().trials
    attributes = [{key: value for key, value in trial.user_attrs.items() if "unit" not in key} for trial in trials]
    assert attributes[0] == {"number": 0, "state": "complete", "seed": 100, "epochs": 3, "checkpoint": str(checkpoint)}
    assert attributes[2] == {"number": 2, "state": "diverged", "seed": 102, "epochs": 2, "reason": "val_loss is NaN"}
    assert attributes[3] == {
        "number": 3,
        "state": "failed",
        "seed": 103,
        "epochs": 0,
        "reason": "RuntimeError: no memory",
    }


def test_trials_that_run_are_left_out(recorded, tmp_path, optuna):
    recorded(*OUTCOMES)
    recorder = Recorder(tmp_path / "digits", asked("max"), frozenset({"trials"}), SPACE)
    recorder.record(Started(Trial(5, FIRST, seed=105), time=1005.0))
    assert len(Study(tmp_path / "digits").to_optuna().trials) == 5
    recorder.close()


@pytest.mark.filterwarnings("ignore::Warning")
def test_importances_and_pictures_come_from_it(recorded, optuna):
    pytest.importorskip("matplotlib")
    drawn = Random().propose(SPACE, 1, range(40), [])
    outcomes = [
        Outcome("complete", -abs(math.log10(each["lr"]) + 2), 1, {"val_acc": [-abs(math.log10(each["lr"]) + 2)]})
        for each in drawn
    ]
    study = recorded(*outcomes, hparams=drawn).to_optuna()
    importances = optuna.importance.get_param_importances(study)
    assert next(iter(importances)) == "lr"
    assert importances.keys() == SPACE.keys()
    import matplotlib

    matplotlib.use("Agg")
    pictures = optuna.visualization.matplotlib
    for picture in ("optimization_history", "param_importances", "intermediate_values", "slice", "parallel_coordinate"):
        getattr(pictures, f"plot_{picture}")(study)
    matplotlib.pyplot.close("all")


def test_in_a_storage_it_gets_the_trials_that_it_lacks(recorded, tmp_path, optuna):
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    recorded(*OUTCOMES[:2]).to_optuna(storage)
    recorded(*OUTCOMES).to_optuna(storage)
    study = optuna.load_study(study_name="digits", storage=storage)
    assert [trial.user_attrs["number"] for trial in study.trials] == [0, 1, 2, 3, 4]
    assert [trial.value for trial in study.trials] == [0.9, 0.4, None, None, 0.7]


def test_another_study_of_its_name_in_the_storage_is_left_alone(recorded, tmp_path, optuna):
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    recorded(*OUTCOMES).to_optuna(storage)
    other = recorded(*OUTCOMES[:1], root=tmp_path / "other" / "digits")
    with pytest.raises(ConfigError, match="another study named 'digits': give another study_name"):
        other.to_optuna(storage)
    assert len(other.to_optuna(storage, "second").trials) == 1
    assert len(optuna.load_study(study_name="digits", storage=storage).trials) == 5


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("nonsense", "to_optuna(storage='nonsense') is none that Optuna can open (Could not parse"),
        ("sqlite:////nowhere/optuna.db", "unable to open database file): it needs a URL such as 'sqlite:///optuna.db'"),
        ("redis://localhost", "RedisStorage"),
        (3, "to_optuna(storage=) needs a URL such as 'sqlite:///optuna.db', or one of Optuna's own, got 3"),
    ],
)
def test_a_storage_that_optuna_cannot_open_is_told_in_one_line(recorded, optuna, storage, told):
    study = recorded(*OUTCOMES)
    with pytest.raises(ConfigError) as error:
        study.to_optuna(storage)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_study_without_a_finished_trial_is_empty(recorded, optuna):
    assert recorded().to_optuna().trials == []


@pytest.mark.parametrize(("value", "state"), [(math.inf, "COMPLETE"), (math.nan, "FAIL")])
def test_of_values_that_are_not_finite_optuna_takes_the_infinite_ones(recorded, optuna, value, state):
    (trial,) = recorded(Outcome("complete", value, 1, {"val_acc": [value]})).to_optuna().trials
    assert trial.state.name == state


def test_without_optuna_it_tells_how_to_install_it(recorded, monkeypatch):
    study = recorded(*OUTCOMES)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'lightning-hp[optuna]'")):
        study.to_optuna()
