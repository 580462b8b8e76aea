"""Trials' folders that are written on one machine and wanted on another: what changes in them, in pieces, and back in place.

A checkpoint takes the place of the one before in one step, there as here, and comes after the weights that it says are there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias

from lightning_hp.errors import storage_errors
from lightning_hp.trial import trial_folder

# Bytes that are in memory at a time.
PIECE = 2**20
# Of these only the end is new. All other files are replaced, or may be written anew in the same place.
_GROWING = "events.out.tfevents."
# For a machine that lost its power: what arrives elsewhere is safe there.
_LEFT_OUT = frozenset({"last.previous.ckpt"})


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


class Mirror:
    """Tells what changes in the folders of some trials.

    Args:
        root: the study's folder.
        numbers: of the trials.
    """

    def __init__(self, root: Path, numbers: Iterable[int]) -> None:
        self._root = root
        self._folders = [trial_folder(root, number) for number in numbers]
        self._known: dict[str, _Version] = {}

    def accept(self) -> None:
        """Takes what is there for known at the other place."""
        self._known = dict(self._versions())

    def changes(self) -> Iterator[list[Change]]:
        """What has changed since then, or since it was asked last: about a `PIECE` of bytes at a time."""
        found = dict(self._versions())
        gone = [path for path in self._known if path not in found]
        for path in gone:
            del self._known[path]
        batch, size = list[Change](map(Gone, gone)), 0
        for change in self._new(found):
            batch.append(change)
            size += len(change.data) if isinstance(change, Piece) else 0
            if size >= PIECE:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def remove(self) -> None:
        """Removes the folders here."""
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _versions(self) -> Iterator[tuple[str, _Version]]:
        for folder in self._folders:
            for path in sorted(folder.rglob("*")):
                if path.name.startswith(".") or path.name in _LEFT_OUT:
                    continue
                # What runs may remove it any time.
                with suppress(FileNotFoundError):
                    status = path.stat()
                    if path.is_file():
                        yield path.relative_to(self._root).as_posix(), _version(status)

    def _new(self, found: dict[str, _Version]) -> Iterator[Change]:
        """What of these files is new: of those that have several names, such as the checkpoint of a fused job, once."""
        sent: dict[_Version, str] = {}
        for path, version in found.items():
            if version == self._known.get(path):
                continue
            if version in sent:
                self._known[path] = version
                yield Same(path, sent[version])
                continue
            with suppress(FileNotFoundError), (self._root / path).open("rb") as file:
                # It may be another one by now.
                version = _version(os.fstat(file.fileno()))
                before = self._known.get(path)
                grows = PurePosixPath(path).name.startswith(_GROWING) and version.grown_from(before)
                yield from _pieces(path, file, before.size if grows and before is not None else 0, version.size, grows)
                self._known[path] = version
                sent[version] = path


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
        """
        target = self._place(change.path)
        with storage_errors(target):
            if isinstance(change, Gone):
                target.unlink(missing_ok=True)
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(change, Same):
                self._link(self._place(change.other), target)
            elif change.grows:
                # Where somebody has removed it, nothing is missed.
                with suppress(FileNotFoundError):
                    _write_at(target, change)
            else:
                part = _part(target)
                _write_at(part, change)
                if change.last:
                    part.replace(target)

    def drop_parts(self, numbers: Iterable[int]) -> None:
        """Removes what has come of files of these trials whose rest will not."""
        for number in numbers:
            for path in trial_folder(self._root, number).rglob(".*.part"):
                path.unlink(missing_ok=True)

    def _place(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        assert parts[0] == "trials", path
        assert ".." not in parts, path
        return self._root.joinpath(*parts)

    def _link(self, other: Path, target: Path) -> None:
        part = _part(target)
        part.unlink(missing_ok=True)
        try:
            os.link(other, part)
        except OSError:
            # There are no links on this file system, or it is full, which the copying will tell.
            shutil.copyfile(other, part)
        part.replace(target)


def _version(status: os.stat_result) -> _Version:
    return _Version(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


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


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _write_at(path: Path, piece: Piece) -> None:
    with path.open("r+b" if piece.offset else "wb") as file:
        file.seek(piece.offset)
        file.write(piece.data)
        file.truncate()
        if piece.last and not piece.grows:
            # The worker may remove what it has as soon as this is told.
            file.flush()
            os.fsync(file.fileno())
