"""Under which conditions a trial trains, kept beside it: what decides whether the same fit gives the same bits elsewhere."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

FILE = "conditions.jsonl"


@dataclass(frozen=True)
class Conditions:
    """What besides seeds and hyperparameters decides the last bits of a fit.

    Attributes:
        host: the machine.
        device: ``cpu``, or the name of the GPU.
        devices: on how many it trains.
        threads: that torch may use.
        torch: the version.
        together: how many trials train as one with it, itself included.
        step: optimizer steps that had been made before, in a fit that went on.
    """

    host: str
    device: str
    devices: int
    threads: int
    torch: str
    together: int
    step: int = 0

    @property
    def exact(self) -> bool:
        """Whether a fit under these gives the same bits each time: on a CPU, by itself."""
        return self.device == "cpu" and self.together == 1

    def unlike(self, other: Conditions) -> list[str]:
        """What is different in others, in words.

        >>> here = Conditions("one", "cpu", 1, 2, "2.9", together=1)
        >>> here.unlike(Conditions("one", "cpu", 1, 4, "2.9", together=8))
        ['threads was 4, is 2', 'together was 8, is 1']
        """
        names = ("host", "device", "devices", "threads", "torch", "together")
        pairs = ((name, getattr(other, name), getattr(self, name)) for name in names)
        return [f"{name} was {before}, is {now}" for name, before, now in pairs if before != now]


@rank_zero_only
def note_conditions(folder: Path, trainer: Trainer, together: int, step: int) -> None:
    """Notes under which conditions a trial trains from now on, after what its earlier attempts have noted.

    Args:
        folder: of the trial.
        trainer: about to fit.
        together: how many trials train as one with it.
        step: where the fit goes on.
    """
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    conditions = Conditions(
        platform.node(), name, trainer.num_devices, torch.get_num_threads(), str(torch.__version__), together, step
    )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a") as file:
        file.write(f"{json.dumps(asdict(conditions))}\n")


def read_conditions(folder: Path) -> list[Conditions]:
    """The conditions under which a trial has come to its end, in order; none where nothing is known of them.

    An attempt is left out of which nothing remains, since a later one has begun at the same step or before.
    """
    found: list[Conditions] = []
    try:
        for line in (folder / FILE).read_text().splitlines():
            attempt = Conditions(**json.loads(line))
            found = [*(each for each in found if each.step < attempt.step), attempt]
    except (OSError, ValueError, TypeError):
        return []
    return found
