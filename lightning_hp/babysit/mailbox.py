"""Requests to a running fit, and its answers, as small files in the fit's folder.

FOLDER/babysit.lock is there while a babysat fit trains, which holds it as long as it lives, so that a command can tell. A
request is a file FOLDER/babysit.requests/ID.request; the fit takes it (``ID.taken``), and answers with ``ID.answer``. Each
appears whole, by a rename. A request that is renamed away in time is withdrawn.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lightning_hp.errors import ConfigError, StorageError
from lightning_hp.study.files import write_whole

FOLDER, LOCK = "babysit.requests", "babysit.lock"
# Seconds to wait for the lock, which a command holds for an instant when it asks whether the fit lives.
_LOCK_TIMEOUT = 0.5
# Characters of a file that is read.
_LONGEST = 100_000


@dataclass(frozen=True)
class Answer:
    """What a fit says to a request.

    Attributes:
        done: whether it was carried out, and not refused.
        epoch: in which, from 0.
        step: after how many optimizer steps.
        text: what was done, with lr and momentum before and after; or why it was refused.
    """

    done: bool
    epoch: int
    step: int
    text: str


def hold(folder: Path) -> sqlite3.Connection | str:
    """The lock of a folder, by which commands know that requests are taken there; or why it cannot be held.

    What an interrupted fit has left undone is refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(folder / LOCK, isolation_level=None, timeout=_LOCK_TIMEOUT, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        return f"{folder / LOCK} can't be made: {error}"
    try:
        # Nothing is written, so that nothing needs a journal.
        lock.execute("PRAGMA journal_mode = MEMORY")
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        return f"{folder / LOCK} is another fit's, or can't be written: {error}"
    _refuse_all(folder / FOLDER, Answer(False, 0, 0, "the fit was interrupted before it came to this: ask again"))
    return lock


def let_go(folder: Path, lock: sqlite3.Connection, answer: Answer) -> None:
    """Gives a folder's lock back, and this answer to all requests that have none."""
    _refuse_all(folder / FOLDER, answer)
    lock.close()
    unlink(folder / LOCK)
    remove_folder(folder / FOLDER)


def listens(folder: Path) -> bool:
    """Whether a fit takes requests in this folder now."""
    lock = folder / LOCK
    if not lock.is_file():
        return False
    try:
        connection = sqlite3.connect(f"{lock.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0.0)
    except sqlite3.Error:
        return False
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    finally:
        connection.close()
    return False


def take(folder: Path) -> list[tuple[str, str]]:
    """Takes the requests in a folder, unread, for who carries them elsewhere: their ids, each with what it says."""
    taken = [path.with_suffix(".taken") for path in listed(folder / FOLDER, ".request") if moved(path, ".taken")]
    return [(path.stem, path.read_text(errors="replace")) for path in taken]


def listed(folder: Path, suffix: str) -> list[Path]:
    """The files of that kind, in the order in which they were made; none of a folder that is not there."""
    try:
        # Path.iterdir takes twice as long.
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []
    return [folder / name for name in names if name.endswith(suffix) and not name.startswith(".")]


def read(path: Path) -> str:
    """What a file says.

    Raises:
        ConfigError: it is too long to be a request or an answer.
    """
    with path.open(errors="replace") as file:
        content = file.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise ConfigError(f"it is longer than {_LONGEST} characters")
    return content


def moved(path: Path, suffix: str) -> bool:
    """Makes a file one of another kind. Whether it was there: of several who try one does it."""
    try:
        path.rename(path.with_suffix(suffix))
    except OSError:
        return False
    return True


def write_answer(path: Path, answer: Answer) -> None:
    """Writes an answer, if the disk takes it."""
    # The command that waits says by itself that there is none.
    with suppress(StorageError):
        write_whole(path, json.dumps(asdict(answer)), sync=False)


def unlink(path: Path) -> None:
    """Removes a file, if it is there and can be removed."""
    with suppress(OSError):
        path.unlink()


def remove_folder(folder: Path) -> None:
    """Removes the folder of requests, unless an answer is in it that nobody has read yet."""
    if folder.exists():
        with suppress(OSError):
            folder.rmdir()


def _refuse_all(folder: Path, answer: Answer) -> None:
    for path in (*listed(folder, ".request"), *listed(folder, ".taken")):
        if path.suffix == ".taken" or moved(path, ".taken"):
            write_answer(path.with_suffix(".answer"), answer)
            unlink(path.with_suffix(".taken"))
