"""Under which circumstances an attempt at a trial trained: what decides whether the same fit gives the same bits elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

# Called so by earlier versions, whose studies are read.
FILE = "conditions.jsonl"


@dataclass(frozen=True)
class Circumstances:
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

    @property
    def place(self) -> str:
        """The devices and their machine.

        >>> Circumstances("one", "NVIDIA H100", 2, 8, "2.9", together=1).place
        '2 x NVIDIA H100 of one'
        """
        return f"{self.devices} x {self.device} of {self.host}" if self.devices > 1 else f"{self.device} of {self.host}"

    def __str__(self) -> str:
        return f"{self.place}, {self.threads} thread{'s' if self.threads != 1 else ''}, torch {self.torch}"

    def unlike(self, other: Circumstances) -> list[str]:
        """What is different in others, in words.

        >>> here = Circumstances("one", "cpu", 1, 2, "2.9", together=1)
        >>> here.unlike(Circumstances("one", "cpu", 1, 4, "2.9", together=8))
        ['threads was 4, is 2', 'together was 8, is 1']
        """
        names = ("host", "device", "devices", "threads", "torch", "together")
        pairs = ((name, getattr(other, name), getattr(self, name)) for name in names)
        return [f"{name} was {before}, is {now}" for name, before, now in pairs if before != now]


def read_circumstances(folder: Path) -> list[Circumstances]:
    """The circumstances under which a trial has come to its end, in order; none where nothing is known of them.

    An attempt is left out of which nothing remains, since a later one has begun at the same step or before.
    """
    found: list[Circumstances] = []
    try:
        for line in (folder / FILE).read_text().splitlines():
            attempt = Circumstances(**json.loads(line))
            found = [*(each for each in found if each.step < attempt.step), attempt]
    except (OSError, ValueError, TypeError):
        return []
    return found
