"""What tests share: searches that take a fraction of a second, on real digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from examples.digits import DigitsData, LitDigits
from lightning_hp import Choice, Log, LogInt, ReverseLog, SearchLoop

torch.set_num_threads(1)


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., SearchLoop]:
    """Makes a small search over digits; any argument can be given another value."""

    def make(model: Any = LitDigits, **changes: Any) -> SearchLoop:
        arguments: dict[str, Any] = {
            "space": {
                "lr": Log(1e-2, 1.0),
                "momentum": ReverseLog(0.5, 0.95),
                "activation": Choice("relu", "tanh"),
                "data.batch_size": LogInt(64, 256),
            },
            "data": DigitsData,
            "monitor": "val_acc",
            "mode": "max",
            "trials": 3,
            "trainer": {"max_epochs": 2, "accelerator": "cpu"},
            "executor": "inline",
            "fuse": "never",
            "root_dir": tmp_path / "study",
            "progress": False,
        }
        return SearchLoop(model, **{**arguments, **changes})

    return make
