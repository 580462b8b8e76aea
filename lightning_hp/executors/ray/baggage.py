"""The folders of a job's trials on a machine that does not see the study's folder: put in place, passed on, removed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning_hp.executors.ray.mirror import Copy, Mirror
from lightning_hp.executors.ray.ways import Parcel
from lightning_hp.executors.ray.wheels import Desk
from lightning_hp.trial import left_by

# Looking at what has changed and sending it takes at most one part in so many of the time.
PARTS = 10


class Baggage:
    """What of a job's trials has come here, and what goes back.

    Args:
        root: the study's folder here.
        numbers: of the trials.
        parcel: what has come with the job.

    Attributes:
        desk: takes a person's requests.
    """

    def __init__(self, root: Path, numbers: Sequence[int], parcel: Parcel) -> None:
        self.desk = Desk(root, numbers)
        self._parcel = parcel
        self._mirror = Mirror(root, numbers)
        copy = Copy(root)
        for batch in parcel.changes():
            for change in batch:
                copy.apply(change)
        self._mirror.accept()
        self._next = time.monotonic() + parcel.interval

    def news(self, at_once: bool) -> Iterator[list[Any]]:
        """What the search is to be told of the folders: at once, or if it is time to look."""
        if told := self.desk.news(at_once):
            yield told
        began = time.monotonic()
        if at_once or began >= self._next:
            yield from self._parcel.give(self._mirror.changes())
            now = time.monotonic()
            self._next = now + max(self._parcel.interval, (PARTS - 1) * (now - began))

    def leave(self, numbers: Iterable[int]) -> None:
        """Tells no more of these trials, which are over here."""
        for number in numbers:
            self._mirror.leave(number)

    def remove(self) -> None:
        """Removes the folders."""
        self._mirror.remove()


def ended_by(messages: Iterable[Any]) -> list[int]:
    """The trials that are over where they were trained, by what has been told."""
    return [number for message in messages for number in left_by(message)]
