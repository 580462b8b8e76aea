"""The fit's side of a person at the wheel: the requests that are due before a batch, and what is answered."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_hp.babysit.mailbox import FOLDER, Answer, hold, let_go, listed, moved, read, unlink, write_answer
from lightning_hp.babysit.request import Request

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

# Seconds from one look for requests to the next. A look costs tens of microseconds, and no person is quicker.
INTERVAL = 0.25
# Several processes look together, after so many batches at most, for each has to know without asking when that is.
_MOST_BATCHES = 100


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
        first = batch_idx == 0
        if not self._again and not (self._listens and self._is_time(first)):
            return ()
        again = [request for place, request in self._again if place <= batch]
        self._again = [each for each in self._again if each[0] > batch]
        return self._coming(trainer, again, first)

    @property
    def quiet_until(self) -> float:
        """When, by ``time.monotonic()``, to ask again: till then none is due, but with an epoch's first batch."""
        if self._again or (self._listens and self._several):
            return -math.inf
        return self._next_look if self._listens else math.inf

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
        for path in listed(self._folder, ".request"):
            if path.stem not in self._waiting:
                self._read(path)
        due = [key for key, each in self._waiting.items() if first or each.at == "step" or each.kind == "resume"]
        taken = [(self._waiting.pop(key), moved(self._folder / f"{key}.request", ".taken")) for key in due]
        # One that was withdrawn can't be taken.
        return [request for request, there in taken if there]

    def _read(self, path: Path) -> None:
        try:
            plain = json.loads(read(path))
            self._waiting[path.stem] = replace(Request.from_plain(plain), id=path.stem)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            moved(path, ".taken")
            self._answer(Request("nudge", id=path.stem), Answer(False, 0, 0, str(error)))

    def _answer(self, request: Request, answer: Answer) -> None:
        taken = None if self._folder is None or not request.id else self._folder / f"{request.id}.taken"
        # One that is made again has no one who waits for an answer.
        if taken is not None and taken.exists():
            write_answer(taken.with_suffix(".answer"), answer)
            unlink(taken)


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


def _is_to_end(trainer: Trainer) -> bool:
    # A trial that trains together with others has a Trainer of its own, which hears no signal; the one that runs the loop does.
    return bool(getattr(trainer.fit_loop.trainer, "received_sigterm", False))


def _answer(trainer: Trainer, done: bool, text: str) -> Answer:
    return Answer(done, trainer.current_epoch, trainer.global_step, text)
