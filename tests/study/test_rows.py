"""A study's trials as flat rows and as a DataFrame."""

from __future__ import annotations

import sys

import pytest

from lightning_hp import ConfigError
from lightning_hp.study.rows import flat_rows
from lightning_hp.trial import Best, Trial


def test_rows_have_the_same_columns_whatever_their_trials_have():
    trials = [
        Trial(0, {"a": 1}, 5, "complete", 0.2, 2, {"loss": [0.4, 0.2], "acc": [None, 0.5]}),
        Trial(1, {"a": 2, "b": "x"}, 6, "failed", None, 1, {"loss": [None]}, "broken"),
        Trial(2, {"b": "y"}, 7),
    ]
    rows = flat_rows(trials, "loss", "min", {0: (10.0, 13.0), 1: (11.0, None)})
    assert len({tuple(row) for row in rows}) == 1
    assert [row["hparams.b"] for row in rows] == [None, "x", "y"]
    assert [row["best.acc"] for row in rows] == [0.5, None, None]
    assert [row["last.loss"] for row in rows] == [0.2, None, None]
    assert [row["seconds"] for row in rows] == [3.0, None, None]
    assert [row["reason"] for row in rows] == [None, "broken", None]


def test_best_is_the_epoch_in_which_the_objective_was_best():
    metrics = {"acc": [0.1, 0.9, 0.5], "loss": [3.0, 2.0, 1.0]}
    [row] = flat_rows([Trial(0, {}, 0, metrics=metrics)], "acc", "max", {})
    assert (row["best.acc"], row["best.loss"], row["last.loss"]) == (0.9, 2.0, 1.0)


def test_where_an_epoch_has_several_validations_best_is_the_one_that_was():
    metrics = {"acc": [0.4, 0.5], "loss": [3.0, 2.0], "train_loss": [4.0, 1.0]}
    trial = Trial(0, {}, 0, "complete", 0.9, 2, metrics, best=Best(0, {"acc": 0.9, "loss": 2.5}))
    failed = Trial(1, {}, 0, "failed", best=Best(0, {"acc": 0.8, "extra": 7.0}))
    rows = flat_rows([trial, failed], "acc", "max", {})
    assert [row["best.acc"] for row in rows] == [0.9, 0.8]
    assert [row["best.loss"] for row in rows] == [2.5, None]
    assert [row["best.train_loss"] for row in rows] == [4.0, None]
    assert [row["best.extra"] for row in rows] == [None, 7.0]
    assert [row["last.acc"] for row in rows] == [0.5, None]


def test_a_dataframe_has_a_row_a_trial(search):
    pytest.importorskip("pandas")
    study = search(trials=2).run()
    frame = study.to_dataframe()
    assert list(frame["number"]) == [0, 1]
    assert list(frame["hparams.lr"]) == [trial.hparams["lr"] for trial in study.trials]
    assert list(frame["best.val_acc"]) == [trial.value for trial in study.trials]
    assert frame.loc[0, "epochs"] == 2


def test_without_pandas_the_error_says_how_to_get_it(search, monkeypatch):
    study = search(trials=1).run()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        study.to_dataframe()
    assert study.to_rows()[0]["state"] == "complete"
