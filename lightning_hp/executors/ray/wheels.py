"""A person at the wheel of a fit on a machine that does not see the study's folder: requests go there, answers come back.

As long as such a fit takes requests, the search does so in its place, in the mailbox of the trial's folder.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lightning_hp.babysit.mailbox import FOLDER, LOCK, Answer, hold, let_go, take
from lightning_hp.errors import StorageError
from lightning_hp.study.files import write_whole
from lightning_hp.trial import trial_folder

# Seconds from one look for answers to the next.
INTERVAL = 1.0


@dataclass(frozen=True)
class Listens:
    """Whether a trial takes requests from now on."""

    number: int
    on: bool


@dataclass(frozen=True)
class Asked:
    """A request to a trial, unread."""

    number: int
    id: str
    text: str


@dataclass(frozen=True)
class Answered:
    """The answer, unread."""

    number: int
    id: str
    text: str


class Wheels:
    """The search's side.

    Args:
        root: the study's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # Of the trials that take requests elsewhere.
        self._locks: dict[int, sqlite3.Connection] = {}

    def hear(self, told: Listens | Answered) -> None:
        """Takes in what an agent has told."""
        if isinstance(told, Answered):
            _answer(trial_folder(self._root, told.number), told)
        elif not told.on:
            self.end([told.number], "the fit has ended before it came to this")
        elif told.number not in self._locks:
            lock = hold(trial_folder(self._root, told.number))
            # Without the lock commands say that the trial does not train.
            if not isinstance(lock, str):
                self._locks[told.number] = lock

    def asked(self, numbers: Iterable[int]) -> list[Asked]:
        """New requests to these trials. They count as taken."""
        listening = [number for number in numbers if number in self._locks]
        return [Asked(number, *each) for number in listening for each in take(trial_folder(self._root, number))]

    def end(self, numbers: Iterable[int], reason: str) -> None:
        """Takes no more requests to these trials, and refuses, with the reason, those that have no answer."""
        for number in numbers:
            lock = self._locks.pop(number, None)
            if lock is not None:
                let_go(trial_folder(self._root, number), lock, Answer(False, 0, 0, reason))


class Desk:
    """The side of the machine where they train.

    Args:
        root: the study's folder there.
        numbers: of the trials.
    """

    def __init__(self, root: Path, numbers: Sequence[int]) -> None:
        self._root = root
        self._listening = dict.fromkeys(numbers, False)
        self._next = 0.0

    def put(self, asked: Asked) -> None:
        """Puts a request before the fit."""
        with suppress(StorageError):
            write_whole(_requests(self._root, asked.number) / f"{asked.id}.request", asked.text, sync=False)

    def news(self, at_once: bool) -> list[Listens | Answered]:
        """What there is to tell: at once, or if it is time to look."""
        now = time.monotonic()
        if now < self._next and not at_once:
            return []
        self._next = now + INTERVAL
        return [each for number in self._listening for each in self._news_of(number)]

    def _news_of(self, number: int) -> Iterable[Listens | Answered]:
        # First, since the last answers are there when a fit takes no more.
        listens = (trial_folder(self._root, number) / LOCK).exists()
        if listens or self._listening[number]:
            for path in sorted(_requests(self._root, number).glob("*.answer")):
                if not path.name.startswith("."):
                    yield Answered(number, path.stem, path.read_text())
                    path.unlink()
        if listens != self._listening[number]:
            self._listening[number] = listens
            yield Listens(number, listens)


def _requests(root: Path, number: int) -> Path:
    return trial_folder(root, number) / FOLDER


def _answer(folder: Path, answered: Answered) -> None:
    taken = folder / FOLDER / f"{answered.id}.taken"
    # Nobody waits for one that was refused meanwhile.
    if taken.exists():
        # The command that waits says by itself that there is none.
        with suppress(StorageError):
            write_whole(taken.with_suffix(".answer"), answered.text, sync=False)
            taken.unlink()
