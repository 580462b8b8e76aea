"""Notes under which circumstances a trial trains, beside it."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from lightning_hp.attempts import FILE, Circumstances


@rank_zero_only
def note_circumstances(folder: Path, trainer: Trainer, together: int, step: int) -> None:
    """Notes under which circumstances a trial trains from now on, after what its earlier attempts have noted.

    Args:
        folder: of the trial.
        trainer: about to fit.
        together: how many trials train as one with it.
        step: where the fit goes on.
    """
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    circumstances = Circumstances(
        platform.node(), name, trainer.num_devices, torch.get_num_threads(), str(torch.__version__), together, step
    )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a") as file:
        file.write(f"{json.dumps(asdict(circumstances))}\n")
