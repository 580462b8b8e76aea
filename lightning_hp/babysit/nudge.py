"""A person at the wheel: requests to a running fit, and its answers, as small files in the fit's folder.

FOLDER/babysit.lock is there while a babysat fit trains, which holds it as long as it lives, so that a command can tell. A
request is a file FOLDER/babysit.requests/ID.request; the fit takes it (``ID.taken``), and answers with ``ID.answer``. Each
appears whole, by a rename. A request that is renamed away in time is withdrawn.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_hp.babysit.request import Request
from lightning_hp.errors import ConfigError, StorageError
from lightning_hp.study.files import write_whole

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

FOLDER, LOCK = "babysit.requests", "babysit.lock"
# Seconds from one look for requests to the next. A look costs tens of microseconds, and no person is quicker.
INTERVAL = 0.25
# Several processes look together, after so many batches at most, for each has to know without asking when that is.
_MOST_BATCHES = 100
# Seconds to wait for the lock, which a command holds for an instant when it asks whether the fit lives.
_LOCK_TIMEOUT = 0.5
# Seconds between two looks for the answer.
_POLL = 0.05
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


class Requests:
    """The fit's side: which requests are due, and what is answered. A request can never hurt the fit, nor can a full disk.

    All processes of a fit make one, and call the same methods at the same batches; rank 0 reads and writes.

    Args:
        trainer: the fit's.
        folder: of the fit.
        again: requests that an interrupted fit had carried out after the place where this one goes on, by the training batches
            made before them: they are due there again.

    Attributes:
        problem: why no request can come, if so.
    """

    def __init__(self, trainer: Trainer, folder: Path, again: Sequence[tuple[int, Request]] = ()) -> None:
        self.paused = False
        self._folder: Path | None = None
        self._lock: sqlite3.Connection | None = None
        # Those that have been read, by id.
        self._waiting: dict[str, Request] = {}
        self._next_look = 0.0
        self._pace = _Pace()
        self._batches_left = 0
        self._several = trainer.world_size > 1
        problem = self._listen(folder) if trainer.is_global_zero else None
        lasting = [(batch, request) for batch, request in again if request.kind in ("nudge", "rollback")]
        self.problem: str | None
        self._again: list[tuple[int, Request]]
        self.problem, self._again = trainer.strategy.broadcast((problem, lasting))
        self._listens = self.problem is None

    def due(self, trainer: Trainer, batch: int, batch_idx: int) -> Iterable[Request]:
        """The requests to carry out before the coming batch. While the fit is paused, this goes on until it is not.

        Args:
            trainer: the fit's.
            batch: training batches made so far, in all epochs.
            batch_idx: number of the coming one in its epoch.
        """
        return self.coming(trainer, batch, batch_idx) if self.may_be_due(batch_idx) else ()

    def may_be_due(self, batch_idx: int) -> bool:
        """Whether it is time to look, so that the rest need not be asked at each batch; to be asked once a batch."""
        return bool(self._again) or (self._listens and self._is_time(batch_idx == 0))

    @property
    def quiet_until(self) -> float:
        """When, by ``time.monotonic()``, to ask again: till then none is due, but with an epoch's first batch."""
        if self._again or (self._listens and self._several):
            return -math.inf
        return self._next_look if self._listens else math.inf

    def coming(self, trainer: Trainer, batch: int, batch_idx: int) -> Iterable[Request]:
        """As `due`, where it is time."""
        again = [request for place, request in self._again if place <= batch]
        self._again = [each for each in self._again if each[0] > batch]
        return self._coming(trainer, again, batch_idx == 0)

    @property
    def repeats(self) -> bool:
        """Whether some are to be carried out again, at their batches."""
        return bool(self._again)

    def done(self, trainer: Trainer, request: Request, text: str) -> None:
        """Answers a request that was carried out.

        Args:
            trainer: the fit's.
            request: one that was due.
            text: what was done, in a sentence.
        """
        if request.kind in ("pause", "resume", "stop"):
            self.paused = request.kind == "pause"
        self._answer(request, _answer(trainer, True, text))

    def refuse(self, trainer: Trainer, request: Request, reason: str) -> None:
        """Answers a request that was not carried out, with the reason."""
        self._answer(request, _answer(trainer, False, reason))

    def close(self, trainer: Trainer) -> None:
        """Ends: what has not been done is refused. To be called however a fit ends; twice does no harm."""
        if self._folder is not None and self._lock is not None:
            let_go(self._folder.parent, self._lock, _answer(trainer, False, "the fit has ended before it came to this"))
        self._folder, self._lock, self._listens = None, None, False

    def _listen(self, folder: Path) -> str | None:
        lock = hold(folder)
        if isinstance(lock, str):
            return lock
        self._folder, self._lock = folder / FOLDER, lock
        return None

    def _is_time(self, first: bool) -> bool:
        if self._several:
            self._batches_left -= 1
            return first or self._batches_left <= 0
        now = time.monotonic()
        if now < self._next_look and not (first and self._waiting):
            return False
        self._next_look = now + INTERVAL
        return True

    def _coming(self, trainer: Trainer, again: list[Request], first: bool) -> Iterator[Request]:
        yield from again
        while self._listens:
            found: list[Request]
            found, self._batches_left = trainer.strategy.broadcast((self._look(first), self._pace.batches()))
            for request in found:
                if request.kind in ("pause", "resume") and self.paused == (request.kind == "pause"):
                    self.refuse(trainer, request, f"the fit is {'' if self.paused else 'not '}paused")
                else:
                    yield request
            # A fit that is to end does not wait for a person.
            self.paused = self.paused and not trainer.strategy.broadcast(_is_to_end(trainer))
            if not self.paused:
                break
            # What comes for an epoch while it is paused is for the next.
            first = False
            time.sleep(INTERVAL)

    def _look(self, first: bool) -> list[Request]:
        """The requests that are due. Other ranks than 0 see none."""
        if self._folder is None:
            return []
        for path in _files(self._folder, ".request"):
            if path.stem not in self._waiting:
                self._read(path)
        due = [key for key, each in self._waiting.items() if first or each.at == "step" or each.kind == "resume"]
        taken = [(self._waiting.pop(key), _moved(self._folder / f"{key}.request", ".taken")) for key in due]
        # One that was withdrawn can't be taken.
        return [request for request, there in taken if there]

    def _read(self, path: Path) -> None:
        try:
            plain = json.loads(_text(path))
            self._waiting[path.stem] = replace(Request.from_plain(plain), id=path.stem)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            _moved(path, ".taken")
            self._answer(Request("nudge", id=path.stem), Answer(False, 0, 0, str(error)))

    def _answer(self, request: Request, answer: Answer) -> None:
        taken = None if self._folder is None or not request.id else self._folder / f"{request.id}.taken"
        # One that is made again has no one who waits for an answer.
        if taken is not None and taken.exists():
            _write(taken.with_suffix(".answer"), answer)
            _unlink(taken)


class _Pace:
    """After how many batches to look again, where it may not be told by the clock, for all processes have to look together."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._every = 1

    def batches(self) -> int:
        now = time.monotonic()
        if self._at is not None:
            wanted = self._every * INTERVAL / max(now - self._at, 1e-9)
            self._every = int(min(max(wanted, 1), _MOST_BATCHES, 2 * self._every))
        self._at = now
        return self._every


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
    _unlink(folder / LOCK)
    _remove(folder / FOLDER)


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
    taken = [path.with_suffix(".taken") for path in _files(folder / FOLDER, ".request") if _moved(path, ".taken")]
    return [(path.stem, path.read_text(errors="replace")) for path in taken]


def send(folder: Path, request: Request) -> Request:
    """Puts a request before the fit in a folder, and gives it back with its id.

    Raises:
        StorageError: the disk takes no data.
    """
    request = replace(request, id=f"{time.time_ns()}-{uuid.uuid4().hex[:8]}")
    write_whole(folder / FOLDER / f"{request.id}.request", json.dumps(request.to_plain()), sync=False)
    return request


def wait(folder: Path, request: Request, timeout: float | None) -> Answer | None:
    """Waits for the answer to a request.

    Args:
        folder: of the fit.
        request: as `send` gave it.
        timeout: seconds; None waits as long as the fit trains.

    Returns:
        The answer; None if there was none in time. The request stands.
    """
    path = folder / FOLDER / f"{request.id}.answer"
    end = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        alive = listens(folder)
        # Looked for after that, so that the last answer of a fit is seen.
        answer = _read_answer(path)
        if answer is None and not alive:
            withdraw(folder, request)
            answer = Answer(False, 0, 0, "the fit has ended, or its process has died, before it came to this")
        if answer is not None:
            if not alive:
                _remove(folder / FOLDER)
            return answer
        if time.monotonic() >= end:
            return None
        time.sleep(_POLL)


def withdraw(folder: Path, request: Request) -> bool:
    """Takes a request back. Whether the fit had not taken it yet."""
    path = folder / FOLDER / f"{request.id}.request"
    if not _moved(path, ".withdrawn"):
        return False
    _unlink(path.with_suffix(".withdrawn"))
    return True


def _is_to_end(trainer: Trainer) -> bool:
    # A trial that trains together with others has a Trainer of its own, which hears no signal; the one that runs the loop does.
    return bool(getattr(trainer.fit_loop.trainer, "received_sigterm", False))


def _answer(trainer: Trainer, done: bool, text: str) -> Answer:
    return Answer(done, trainer.current_epoch, trainer.global_step, text)


def _read_answer(path: Path) -> Answer | None:
    try:
        answer = Answer(**json.loads(_text(path)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        answer = Answer(False, 0, 0, f"{path} can't be read: {error}")
    _unlink(path)
    return answer


def _refuse_all(folder: Path, answer: Answer) -> None:
    for path in (*_files(folder, ".request"), *_files(folder, ".taken")):
        if path.suffix == ".taken" or _moved(path, ".taken"):
            _write(path.with_suffix(".answer"), answer)
            _unlink(path.with_suffix(".taken"))


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        # Path.iterdir takes twice as long.
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []
    return [folder / name for name in names if name.endswith(suffix) and not name.startswith(".")]


def _text(path: Path) -> str:
    with path.open(errors="replace") as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise ConfigError(f"it is longer than {_LONGEST} characters")
    return text


def _moved(path: Path, suffix: str) -> bool:
    try:
        path.rename(path.with_suffix(suffix))
    except OSError:
        return False
    return True


def _write(path: Path, answer: Answer) -> None:
    # The command that waits says by itself that there is none.
    with suppress(StorageError):
        write_whole(path, json.dumps(asdict(answer)), sync=False)


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _remove(folder: Path) -> None:
    """Removes the folder of requests, unless an answer is in it that nobody has read yet."""
    if folder.exists():
        with suppress(OSError):
            folder.rmdir()
