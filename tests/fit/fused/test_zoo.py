"""Modules of many kinds: each trains as one fit, or says why not."""

from __future__ import annotations

import pytest
import torch

from lightning_hp.trial import Finished
from tests.zoo.entries import ZOO, train

LIMITS = {"max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 1}
NEEDS_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=NEEDS_GPU)])
@pytest.mark.parametrize("name", ZOO)
def test_trials_train_as_one_or_say_why_not(name, accelerator, tmp_path):
    entry = ZOO[name]
    outcomes = []

    def emit(event):
        if isinstance(event, Finished):
            outcomes.append(event.outcome)

    obstacle = train(entry, 3, True, tmp_path, emit, accelerator=accelerator, **LIMITS)
    assert (obstacle is None) == (entry.unfused is None), obstacle
    if entry.unfused is None:
        assert [outcome.state for outcome in outcomes] == ["complete"] * 3, outcomes[0].traceback
    else:
        assert entry.unfused in obstacle


@pytest.mark.parametrize("name", ["GRU, both directions", "LSTM", "transformer encoder", "mixture of experts"])
def test_mixed_precision_is_no_obstacle(name, tmp_path):
    assert train(ZOO[name], 2, True, tmp_path, lambda event: None, precision="bf16-mixed", **LIMITS) is None
