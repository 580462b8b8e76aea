"""Where trials trained, read from the conditions.jsonl in their folders."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lightning_hp.trial import trial_folder

FILE = "conditions.jsonl"


@dataclass(frozen=True)
class Machine:
    """What a trial trained on.

    Attributes:
        host: the machine.
        device: ``cpu``, or the name of the GPU.
        devices: on how many it trained.
        threads: that torch used.
        torch: the version.
    """

    host: str
    device: str
    devices: int
    threads: int
    torch: str

    @property
    def place(self) -> str:
        """The devices and their machine.

        >>> Machine("one", "NVIDIA H100", 2, 8, "2.9").place
        '2 x NVIDIA H100 of one'
        """
        return f"{self.devices} x {self.device} of {self.host}" if self.devices > 1 else f"{self.device} of {self.host}"

    def __str__(self) -> str:
        return f"{self.place}, {self.threads} thread{'s' if self.threads != 1 else ''}, torch {self.torch}"


def machines(root: Path, numbers: Iterable[int]) -> dict[int, Machine]:
    """What a study's trials trained on, by number; the last attempt of each, as far as it is known.

    Args:
        root: the study's folder.
        numbers: of its trials.
    """
    found = {number: _last(trial_folder(root, number) / FILE) for number in numbers}
    return {number: machine for number, machine in found.items() if machine is not None}


def _last(file: Path) -> Machine | None:
    try:
        noted = json.loads(file.read_text().splitlines()[-1])
        return Machine(**{name: noted[name] for name in Machine.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
