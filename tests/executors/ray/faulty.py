"""Digits that have something happen to what they run on, once, when their checkpoint has reached the study's folder.

Each attempt writes down where it trains, one line an epoch.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from examples.digits import LitDigits

# The epoch in which it happens.
EPOCH = 2
PATIENCE = 120.0


@dataclass(frozen=True)
class Note:
    """What trains an epoch of a trial.

    Attributes:
        name: of the trial's folder.
        epoch: that begins.
        machine: what all on its machine have in common, the process of its raylet.
        training: the process that trains.
        server: the process that has forked it.
        agent: the process that has started that one.
    """

    name: str
    epoch: int
    machine: int
    training: int
    server: int
    agent: int

    @property
    def family(self) -> tuple[int, int, int]:
        """All that a search has on a machine for it."""
        return self.training, self.server, self.agent


class Faulty(LitDigits):
    """Digits that do what `FAULTS` says, or what a subclass adds.

    Attributes:
        root: the study's folder.
        notes: a file of notes.
    """

    root: Path
    notes: Path

    def __init__(self, lr: float, how: str) -> None:
        super().__init__(lr=lr, hidden=16)
        self.how = how

    @property
    def name(self) -> str:
        return Path(self.trainer.logger.save_dir).name

    def on_train_epoch_start(self) -> None:
        server = os.getppid()
        here = Note(self.name, self.current_epoch, int(os.environ["RAY_RAYLET_PID"]), os.getpid(), server, parent(server))
        with self.notes.open("a") as file:
            file.write(f"{' '.join(map(str, vars(here).values()))}\n")
        earlier = [note for note in read(self.notes) if note.name == self.name and note.epoch == self.current_epoch]
        if self.current_epoch == EPOCH and self.how in FAULTS and (len(earlier) == 1 or self.how == "always"):
            self.wait_for(self.root / "trials" / self.name / "checkpoints" / "last.ckpt")
            FAULTS[self.how](here)

    def wait_for(self, path: Path) -> None:
        wait_until(path.exists)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    time.sleep(1000)


FAULTS: dict[str, Callable[[Note], None]] = {
    "training": lambda here: _kill(here.training),
    "agent": lambda here: _kill(here.agent),
    "machine": lambda here: _kill(here.machine),
    "always": lambda here: _kill(here.agent),
}


def read(notes: Path) -> list[Note]:
    """What has been written down, in order."""

    def found() -> Iterator[Note]:
        for line in notes.read_text().splitlines() if notes.exists() else ():
            name, *numbers = line.split()
            yield Note(name, *map(int, numbers))

    return list(found())


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(happened: Callable[[], object]) -> None:
    """Waits for what is to happen soon; fails if it does not."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.05)
