"""Trials' folders in a storage that all machines reach, such as S3: parts of files that never change, and a list of the files.

A file is what the list says that it is made of. The list is replaced at once, so that whoever reads it sees all files as they
were at one moment, and a checkpoint that many trials share is there once.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning_hp.errors import ConfigError, StorageError
from lightning_hp.executors.ray.mirror import PIECE, Change, Gone, Piece, Same
from lightning_hp.trial import trial_folder

_LIST = "files.json"


def check_url(url: Any) -> None:
    """Sees whether files can be kept at a URL, as far as that can be told without a look.

    Raises:
        ConfigError: it is none, or a package is missing.
    """
    from fsspec.registry import get_filesystem_class, known_implementations

    protocol, found, _ = url.partition("://") if isinstance(url, str) else ("", "", "")
    if not found:
        raise ConfigError(
            f"RayCluster: storage needs a URL such as 's3://bucket/path', got {url!r}; a folder that all machines see needs "
            "none: let root_dir lie in it"
        )
    if protocol == "memory":
        raise ConfigError(f"RayCluster: storage={url!r} is the memory of one process, which no other machine sees")
    try:
        get_filesystem_class(protocol)
    except ImportError as error:
        package = known_implementations[protocol]["class"].partition(".")[0]
        advice = f"pip install {package}" if package != "fsspec" else str(error)
        raise ConfigError(f"RayCluster: storage={url!r} needs a package, on every machine of the cluster: {advice}") from error
    except ValueError as error:
        raise ConfigError(f"RayCluster: storage={url!r}: fsspec knows no {protocol}://") from error


class Storage:
    """A folder there, with those of the attempts at jobs in it.

    Args:
        url: of the folder.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._system, self._path = _opened(self.url)

    def check(self) -> None:
        """Tries whether it can be written.

        Raises:
            ConfigError: it cannot.
        """
        path = f"{self._path}/{uuid.uuid4().hex}"
        try:
            self._system.makedirs(self._path, exist_ok=True)
            self._system.pipe_file(path, b"lightning-hp")
            self._system.rm_file(path)
        except Exception as error:
            raise ConfigError(
                f"RayCluster: storage={self.url!r} cannot be written: {type(error).__name__}: {error}. See that it exists and "
                "that this machine, and those of the cluster, have the right to write there"
            ) from error

    def folders(self) -> list[str]:
        """URLs of the folders in it, in the order of their names."""
        with _errors(self.url):
            self._system.invalidate_cache()
            try:
                found = self._system.ls(self._path, detail=True)
            except FileNotFoundError:
                return []
            names = sorted(each["name"].rstrip("/").rpartition("/")[2] for each in found if each["type"] == "directory")
        return [f"{self.url}/{name}" for name in names]


class StoredFiles:
    """The files of an attempt at a job.

    Args:
        url: of a folder for them alone.

    Raises:
        StorageError: it cannot be read.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._system, self._path = _opened(url)
        # Of each file the parts that it is made of.
        self._listed: dict[str, list[str]] = {}
        self._changed = False
        # What is being written, and its name.
        self._part: tuple[Any, str] | None = None
        with _errors(url), suppress(FileNotFoundError):
            self._system.invalidate_cache()
            self._listed = json.loads(self._system.cat_file(f"{self._path}/{_LIST}"))
        self._kept = self._used()

    @property
    def numbers(self) -> list[int]:
        """Of the trials that have files here."""
        return sorted({int(path.split("/")[1]) for path in self._listed})

    def put(self, changes: Iterable[list[Change]]) -> None:
        """Keeps what has changed. Others see all of it or nothing.

        Raises:
            StorageError: it takes no data.
        """
        with _errors(self._url):
            for batch in changes:
                for change in batch:
                    self._apply(change)
                    self._changed = True
            if self._changed:
                self._commit()

    def changes(self, numbers: Iterable[int]) -> Iterator[list[Change]]:
        """The files of these trials, as `lightning_hp.executors.ray.mirror.Copy` takes them.

        Raises:
            StorageError: they cannot be read.
        """
        seen: dict[tuple[str, ...], str] = {}
        folders = tuple(f"{trial_folder(Path(), number).as_posix()}/" for number in numbers)
        for path, parts in self._in_order(folders):
            if tuple(parts) in seen:
                yield [Same(path, seen[tuple(parts)])]
                continue
            for piece in self._pieces(path, parts):
                yield [piece]
            seen[tuple(parts)] = path

    def without(self, paths: Iterable[str]) -> list[Change]:
        """Which of these files are not here; none of them where nothing is here at all."""
        return [Gone(path) for path in paths if path not in self._listed] if self._listed else []

    def remove(self) -> None:
        """Removes all; the list first, so that it never names what is there no more.

        Raises:
            StorageError: it cannot be removed.
        """
        with _errors(self._url):
            with suppress(FileNotFoundError):
                self._system.rm_file(f"{self._path}/{_LIST}")
            with suppress(FileNotFoundError):
                self._system.rm(self._path, recursive=True)

    def _apply(self, change: Change) -> None:
        if isinstance(change, Gone):
            self._listed.pop(change.path, None)
        elif isinstance(change, Same):
            self._listed[change.path] = self._listed[change.other]
        else:
            self._write(change)

    def _write(self, piece: Piece) -> None:
        if self._part is None:
            self._system.makedirs(self._path, exist_ok=True)
            name = uuid.uuid4().hex
            self._part = self._system.open(f"{self._path}/{name}", "wb"), name
            self._kept.add(name)
        file, name = self._part
        file.write(piece.data)
        if piece.last:
            self._part = None
            file.close()
            self._listed[piece.path] = [*self._listed.get(piece.path, []), name] if piece.grows else [name]

    def _commit(self) -> None:
        new = f"{self._path}/{_LIST}.new"
        self._system.makedirs(self._path, exist_ok=True)
        self._system.pipe_file(new, json.dumps(self._listed).encode())
        self._system.mv(new, f"{self._path}/{_LIST}")
        self._changed = False
        used = self._used()
        for name in self._kept - used:
            # Whoever has given this attempt up may have removed it.
            with suppress(FileNotFoundError):
                self._system.rm_file(f"{self._path}/{name}")
        self._kept = used

    def _used(self) -> set[str]:
        return {part for parts in self._listed.values() for part in parts}

    def _in_order(self, folders: tuple[str, ...]) -> list[tuple[str, list[str]]]:
        """The files in these folders; a checkpoint comes after the weights that it says are there."""
        return sorted((path, parts) for path, parts in self._listed.items() if path.startswith(folders))

    def _pieces(self, path: str, parts: list[str]) -> Iterator[Piece]:
        offset = 0
        with _errors(self._url):
            for part in parts:
                with self._system.open(f"{self._path}/{part}", "rb") as file:
                    while data := file.read(PIECE):
                        yield Piece(path, offset, data, grows=False, last=False)
                        offset += len(data)
            yield Piece(path, offset, b"", grows=False, last=True)


def _opened(url: str) -> tuple[Any, str]:
    import fsspec

    with _errors(url):
        system, path = fsspec.core.url_to_fs(url)
    return system, path.rstrip("/")


@contextmanager
def _errors(url: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        raise StorageError(
            f"{url}: {type(error).__name__}: {error}: see that it can be reached, then run the same again"
        ) from error
