"""A search for the worst is told; one whose metric's name says nothing is not."""

from __future__ import annotations

import pytest

from lightning_hp.advice.objective import doubt


@pytest.mark.parametrize("monitor", ["val_acc", "val/acc", "Accuracy", "val_f1", "val.auroc", "test-IoU"])
def test_a_metric_that_shall_rise_is_not_minimised(monitor):
    (line,) = doubt(monitor, "min")
    assert line.startswith(f"monitor={monitor!r} ")
    assert line.endswith("mode='max'")
    assert doubt(monitor, "max") == []


@pytest.mark.parametrize("monitor", ["val_loss", "train/loss_epoch", "MAE", "val_perplexity"])
def test_a_metric_that_shall_fall_is_not_maximised(monitor):
    (line,) = doubt(monitor, "max")
    assert line.startswith(f"monitor={monitor!r} ")
    assert line.endswith("mode='min'")
    assert doubt(monitor, "min") == []


@pytest.mark.parametrize("monitor", ["elbo", "val_macc", "reward", "loss_of_acc", "lossless"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_of_other_names_nothing_is_said(monitor, mode):
    assert doubt(monitor, mode) == []


def test_a_search_notes_it(search):
    assert any("take mode='max'" in note for note in search(monitor="val_acc", mode="min").notes)
    assert not any("mode=" in note for note in search(monitor="val_acc", mode="max").notes)
