"""Trials' folders that are written on one machine and wanted on another: what changes in them, in pieces, and back in place.

A checkpoint takes the place of the one before in one step, there as here, and comes after the weights that it says are there.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias

from lightning_hp.errors import LightningHPError, storage_errors
from lightning_hp.trial import trial_folder

# Bytes that are in memory at a time, twice so many at most.
PIECE = 2**20
# Bytes that a change is counted for besides its data, so that those without any come in pieces, too.
_LEAST = 256
# Of these only the end is new. All other files are replaced, or may be written anew in the same place.
_GROWING = "events.out.tfevents."
# Bytes before the end by which a file is known to have grown, and not to be another.
_TAIL = 64
# Nanoseconds in which a file may be written once more without a sign of it: the clock of a file system ticks so often.
_TICK = 20_000_000
# What says which weights are there, and what it takes the place of.
_LAST, _PREVIOUS = "checkpoints/last.ckpt", "checkpoints/last.previous.ckpt"
# What opening tells of a file that is none, such as a link in a circle, or none for us.
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.ESTALE})
# What belongs to the process that trains: a person's requests to it, and snapshots, which its checkpoints hold as well.
_ITS_OWN = re.compile(r"babysit\.(lock|requests/.*)|snapshot-[^/]*\.rank\d+\.pt", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """Some bytes of a file.

    Attributes:
        path: of the file, below the study's folder.
        offset: where in the file they belong.
        data: the bytes.
        grows: whether they follow what is there already; otherwise they are of a file that takes its place with its last piece.
        last: whether no piece of the file follows.
    """

    path: str
    offset: int
    data: bytes
    grows: bool
    last: bool


@dataclass(frozen=True)
class Same:
    """A file that is another, under another name."""

    path: str
    other: str


@dataclass(frozen=True)
class Gone:
    """A file that is there no more."""

    path: str


Change: TypeAlias = Piece | Same | Gone


@dataclass(frozen=True)
class _Version:
    device: int
    inode: int
    modified: int
    size: int

    def grown_from(self, other: _Version | None) -> bool:
        return other is not None and (self.device, self.inode) == (other.device, other.inode) and self.size > other.size


@dataclass
class _Folder:
    """A trial's folder, and what of it is known at the other place: files by their paths in it."""

    number: int
    place: Path
    known: dict[str, _Version] = field(default_factory=dict)
    # How those that grow ended when they were sent.
    tails: dict[str, bytes] = field(default_factory=dict)


class Mirror:
    """Tells what changes in the folders of some trials.

    Args:
        root: the study's folder.
        numbers: of the trials.
        previous: whether the checkpoint before the last one is wanted, too. It is for a machine that loses its power, which
            those do not that have it from elsewhere.
    """

    def __init__(self, root: Path, numbers: Iterable[int], previous: bool = False) -> None:
        self._root = root
        self._folders = [_Folder(number, trial_folder(root, number)) for number in numbers]
        self._all = [folder.place for folder in self._folders]
        self._previous = previous

    def accept(self) -> None:
        """Takes what is there for known at the other place."""
        for folder in self._folders:
            folder.known = {path: _version(status) for path, status in _files(folder.place)}

    def changes(self) -> Iterator[list[Change]]:
        """What has changed since then, or since it was asked last: about a `PIECE` of bytes at a time."""
        # Those that have several names, such as the checkpoint of a fused job, go once.
        sent: dict[_Version, str] = {}
        batch, size = list[Change](), 0
        for folder in self._folders:
            for change in self._changes_in(folder, sent):
                batch.append(change)
                size += _LEAST + (len(change.data) if isinstance(change, Piece) else 0)
                if size >= PIECE:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def paths(self) -> list[str]:
        """The files that are there, by their paths below the study's folder."""
        return [self._name(folder, path) for folder in self._folders for path, _ in _files(folder.place)]

    def leave(self, number: int) -> None:
        """Tells no more of a trial."""
        self._folders = [folder for folder in self._folders if folder.number != number]

    def remove(self) -> None:
        """Removes the folders here, those too of which no more is told."""
        for place in self._all:
            shutil.rmtree(place, ignore_errors=True)

    def _changes_in(self, folder: _Folder, sent: dict[_Version, str]) -> Iterator[Change]:
        with ExitStack() as stack:
            # Opened before all else is looked at and sent after it, so that what it says is there has been sent, and not what
            # was there before that.
            last = _opened(stack, folder.place / _LAST)
            found = {path: _version(status) for path, status in _files(folder.place)}
            here = found.keys() | ({_LAST} if last is not None or _PREVIOUS in found else set())
            for path in [path for path in folder.known if path not in here]:
                del folder.known[path]
                yield Gone(self._name(folder, path))
            for path, version in found.items():
                if version == folder.known.get(path) or path == _LAST or (path == _PREVIOUS and not self._previous):
                    continue
                with ExitStack() as own:
                    # What runs may remove it any time.
                    file = _opened(own, folder.place / path)
                    if file is not None:
                        yield from self._sent(folder, path, file, sent)
            if last is not None:
                yield from self._sent(folder, _LAST, last, sent)

    def _sent(self, folder: _Folder, path: str, file: BinaryIO, sent: dict[_Version, str]) -> Iterator[Change]:
        """The changes of a file that may be another one by now than it was when it was found."""
        name = self._name(folder, path)
        status = os.fstat(file.fileno())
        version, before = _version(status), folder.known.get(path)
        if version == before:
            return
        can_grow = PurePosixPath(path).name.startswith(_GROWING)
        fresh = abs(time.time_ns() - status.st_mtime_ns) < _TICK and not can_grow
        if version in sent:
            yield Same(name, sent[version])
        else:
            tail = folder.tails.pop(path, b"")
            grows = can_grow and before is not None and version.grown_from(before) and _tail(file, before.size) == tail != b""
            offset = before.size if grows and before is not None else 0
            for piece in _pieces(name, file, offset, version.size, grows):
                yield piece
                offset, tail = piece.offset + len(piece.data), (tail + piece.data)[-_TAIL:]
            if can_grow:
                folder.tails[path] = tail
            # It may have been shorter when it was read.
            version = replace(version, size=offset)
            sent[version] = name
        folder.known[path] = replace(version, modified=-1) if fresh else version

    def _name(self, folder: _Folder, path: str) -> str:
        return (folder.place / path).relative_to(self._root).as_posix()


class Copy:
    """Puts changes in their places.

    Args:
        root: the study's folder there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def apply(self, change: Change) -> None:
        """Puts one in its place.

        Raises:
            StorageError: the disk takes no more.
            LightningHPError: its place is not in a trial's folder.
        """
        target = self._place(change.path)
        with storage_errors(target):
            if isinstance(change, Gone):
                self._remove(target)
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(change, Piece) and change.grows:
                # Where somebody has removed it, nothing is missed.
                with suppress(FileNotFoundError):
                    _write_at(target, change)
                return
            part = target.with_name(_PART)
            try:
                self._replace(target, part, change)
            except OSError:
                # On a full disk half a file would take the last space.
                with suppress(OSError):
                    part.unlink(missing_ok=True)
                raise

    def drop_parts(self, numbers: Iterable[int]) -> None:
        """Removes what has come of files of these trials whose rest will not."""
        for number in numbers:
            for path in trial_folder(self._root, number).rglob(_PART):
                path.unlink(missing_ok=True)

    def _place(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if len(parts) < 3 or parts[0] != "trials" or ".." in parts:
            raise LightningHPError(f"a worker tells of a file {path!r}, which is in no trial's folder")
        return self._root.joinpath(*parts)

    def _replace(self, target: Path, part: Path, change: Piece | Same) -> None:
        if isinstance(change, Same):
            _link(self._place(change.other), part)
        else:
            _write_at(part, change)
        if isinstance(change, Same) or change.last:
            part.replace(target)
            # It still has this name if it was that very file before.
            part.unlink(missing_ok=True)

    def _remove(self, target: Path) -> None:
        # A folder may have taken its place, or that of one that it lies in.
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            target.unlink()
        for folder in target.parents[: len(target.parts) - len(self._root.parts) - 2]:
            try:
                folder.rmdir()
            except OSError:
                return


# What has come of a file so far. One name does: files of a folder come one after another.
_PART = ".lightning-hp.part"


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files in a folder that count, in order. A link counts as what it leads to."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            if name.startswith(".") or _ITS_OWN.fullmatch(relative):
                continue
            # What runs may remove it any time, and a link may lead nowhere.
            with suppress(OSError):
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    yield relative, status


def _opened(stack: ExitStack, path: Path) -> BinaryIO | None:
    try:
        return stack.enter_context(path.open("rb"))
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise


def _version(status: os.stat_result) -> _Version:
    return _Version(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _tail(file: BinaryIO, end: int) -> bytes:
    file.seek(max(0, end - _TAIL))
    return file.read(min(_TAIL, end))


def _pieces(path: str, file: BinaryIO, offset: int, end: int, grows: bool) -> Iterator[Piece]:
    file.seek(offset)
    while True:
        data = file.read(min(PIECE, end - offset))
        after = offset + len(data)
        # It may be shorter by now.
        last = after >= end or not data
        yield Piece(path, offset, data, grows, last)
        if last:
            return
        offset = after


def _link(other: Path, part: Path) -> None:
    part.unlink(missing_ok=True)
    try:
        os.link(other, part)
    except OSError:
        # There are no links on this file system, or it is full, which the copying will tell.
        shutil.copyfile(other, part)


def _write_at(path: Path, piece: Piece) -> None:
    with path.open("r+b" if piece.offset else "wb") as file:
        file.seek(piece.offset)
        file.write(piece.data)
        file.truncate()
        if piece.last and not piece.grows:
            # Its machine removes what it has when the job is over.
            file.flush()
            os.fsync(file.fileno())
