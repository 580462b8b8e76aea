"""How trials' folders come to a machine that does not see the study's folder, and back: through Ray, or through a storage.

Between two jobs the study's folder has all. With a job goes a parcel, which brings what the trials have so far to where they
train, and what they write from there back.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from lightning_hp.executors.ray.mirror import Change, Copy, Mirror
from lightning_hp.executors.ray.storage import Storage, StoredFiles
from lightning_hp.study.files import write_whole
from lightning_hp.study.records import FILE as RECORD
from lightning_hp.trial import trial_folder

# In the study's folder: what that is called in a storage.
NAME = ".storage"
Take: TypeAlias = Callable[[list[Change]], None]


class Parcel(Protocol):
    """What an agent gets with a job.

    Attributes:
        interval: seconds from one look at what has changed in the trials' folders to the next, at least.
    """

    @property
    def interval(self) -> float: ...

    def changes(self) -> Iterable[list[Change]]:
        """What is in the trials' folders, for the agent to put in place."""

    def give(self, changes: Iterable[list[Change]]) -> Iterable[list[Change]]:
        """Passes on what has changed since; gives that of it which the agent is to tell."""


class Way(Protocol):
    """The search's side."""

    def begin(self) -> None:
        """Brings to the study's folder what a search that was killed has left on the way.

        Raises:
            ConfigError: it cannot work.
        """

    def parcel(self, numbers: Iterable[int], take: Take) -> Parcel:
        """What goes with a job of these trials.

        Args:
            numbers: of the trials.
            take: gives what is in their folders to the agent, where that does not come with the parcel.
        """

    def collect(self, parcel: Any, numbers: Iterable[int]) -> None:
        """Brings all that these trials have written to the study's folder: they have ended, or their job is lost."""

    def end(self, parcel: Any) -> None:
        """Removes what is left of a parcel whose job is over, and whose trials are collected."""


@dataclass(frozen=True)
class Streamed:
    """What has come through Ray, and goes back as what the job tells."""

    interval: float = 1.0

    def changes(self) -> Iterable[list[Change]]:
        return ()

    def give(self, changes: Iterable[list[Change]]) -> Iterable[list[Change]]:
        return changes


class ThroughRay:
    """What trials write is streamed to the search, which puts it into the study's folder at once.

    Args:
        root: the study's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def begin(self) -> None:
        pass

    def parcel(self, numbers: Iterable[int], take: Take) -> Streamed:
        numbers = list(numbers)
        Copy(self._root).drop_parts(numbers)
        for batch in Mirror(self._root, numbers, previous=True).changes():
            take(batch)
        return Streamed()

    def collect(self, parcel: Streamed, numbers: Iterable[int]) -> None:
        # All is there, but for the rest of a file that was on its way when a job was lost.
        Copy(self._root).drop_parts(numbers)

    def end(self, parcel: Streamed) -> None:
        pass


@dataclass(frozen=True)
class Stored:
    """What lies in a storage.

    Args:
        url: of the folder there that is this parcel's alone. Who was lost, and does not know, disturbs nobody.
    """

    url: str
    # Each look that finds something may cost a request that is paid for.
    interval: float = 10.0

    @cached_property
    def _files(self) -> StoredFiles:
        return StoredFiles(self.url)

    def changes(self) -> Iterator[list[Change]]:
        return self._files.changes(self._files.numbers)

    def give(self, changes: Iterable[list[Change]]) -> Iterable[list[Change]]:
        self._files.put(changes)
        return ()


class ThroughStorage:
    """What trials write goes to a storage, and from there to the study's folder when they have ended.

    Args:
        root: the study's folder.
        url: of the storage.
    """

    def __init__(self, root: Path, url: str) -> None:
        self._root = root
        self._url = url.rstrip("/")
        self._copy = Copy(root)

    def begin(self) -> None:
        self._storage.check()
        for url in self._storage.folders():
            files = StoredFiles(url)
            begun = int(url.rpartition("/")[2].partition("-")[0])
            self._bring(files, [number for number in files.numbers if not self._is_recorded_since(number, begun)])
            files.remove()

    def parcel(self, numbers: Iterable[int], take: Take) -> Stored:
        # In the order of time, so that what is newer is brought later.
        url = f"{self._storage.url}/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        StoredFiles(url).put(Mirror(self._root, numbers, previous=True).changes())
        return Stored(url)

    def collect(self, parcel: Stored, numbers: Iterable[int]) -> None:
        self._bring(StoredFiles(parcel.url), numbers)

    def end(self, parcel: Stored) -> None:
        StoredFiles(parcel.url).remove()

    def _is_recorded_since(self, number: int, begun: int) -> bool:
        """Whether a trial has ended since, by this machine's clock. Then all is there, but for what was not to be kept."""
        try:
            return (trial_folder(self._root, number) / RECORD).stat().st_mtime_ns > begun
        except FileNotFoundError:
            return False

    @cached_property
    def _storage(self) -> Storage:
        return Storage(f"{self._url}/{_name(self._root)}")

    def _bring(self, files: StoredFiles, numbers: Iterable[int]) -> None:
        numbers = list(numbers)
        for change in files.without(Mirror(self._root, numbers).paths()):
            self._copy.apply(change)
        for batch in files.changes(numbers):
            for change in batch:
                self._copy.apply(change)


def _name(root: Path) -> str:
    """A study's name in a storage, where there may be others: the same in each run, and none that a copy of its folder has."""
    path, here = root / NAME, str(root.absolute())
    with suppress(OSError, ValueError, KeyError, TypeError):
        written = json.loads(path.read_text())
        if written["root"] == here:
            return str(written["name"])
    name = uuid.uuid4().hex
    write_whole(path, json.dumps({"name": name, "root": here}))
    return name
