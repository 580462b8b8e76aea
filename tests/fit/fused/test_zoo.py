"""Modules of many kinds: each trains as one fit, or says why not."""

from __future__ import annotations

import pytest

from lightning_hp.trial import Finished
from tests.zoo.entries import ZOO, train


@pytest.mark.parametrize("name", ZOO)
def test_trials_train_as_one_or_say_why_not(name, tmp_path):
    entry = ZOO[name]
    outcomes = []

    def emit(event):
        if isinstance(event, Finished):
            outcomes.append(event.outcome)

    limits = {"max_epochs": 1, "limit_train_batches": 3, "limit_val_batches": 1}
    obstacle = train(entry, 3, True, tmp_path, emit, **limits)
    assert (obstacle is None) == (entry.unfused is None), obstacle
    if entry.unfused is None:
        assert [outcome.state for outcome in outcomes] == ["complete"] * 3, outcomes[0].traceback
    else:
        assert entry.unfused in obstacle
