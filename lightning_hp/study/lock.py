"""One search at a time writes a study. The lock is the operating system's, so it ends with the process that holds it."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lightning_hp.errors import StorageError, cannot_write

FILE, HOLDER = ".lock", ".lock-holder.json"


class Lock:
    """Holds a study for this process until it is released, or the process ends, however it ends.

    SQLite's exclusive lock on an empty file: it works wherever the study itself does, shared folders included.

    Args:
        root: the study's folder.

    Raises:
        StorageError: another search holds it, and the message names its process and host; or the folder cannot be written.
    """

    def __init__(self, root: Path) -> None:
        try:
            self._connection = sqlite3.connect(root / FILE, isolation_level=None, timeout=0.0)
        except sqlite3.Error as error:
            raise cannot_write(root, error) from error
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            if "locked" not in str(error):
                raise cannot_write(root, error) from error
            raise StorageError(
                f"{root} is in use by another search, {_holder(root)}: wait for it, end it, or take another folder"
            ) from None
        # Only for the other's message: a full disk is told by what follows.
        with suppress(OSError):
            (root / HOLDER).write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))

        self._root = root

    def release(self) -> None:
        with suppress(OSError):
            (self._root / HOLDER).unlink(missing_ok=True)
        self._connection.close()


@dataclass(frozen=True)
class Holder:
    """The process that holds a study, or did so when it was killed.

    Attributes:
        pid: its number.
        host: its machine.
        since: seconds since the epoch of the clock.
    """

    pid: int
    host: str
    since: float

    @property
    def lives(self) -> bool:
        """Whether the process is there; taken for granted on another machine."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            # It is another user's.
            return True
        return True


def holder(root: Path) -> Holder | None:
    """Who holds a study, as far as that is known; for onlookers, since it touches no lock."""
    file = root / HOLDER
    try:
        written = json.loads(file.read_text())
        return Holder(int(written["pid"]), str(written["host"]), file.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holder(root: Path) -> str:
    found = holder(root)
    return f"process {found.pid} on host {found.host}" if found is not None else "which has only just begun"
