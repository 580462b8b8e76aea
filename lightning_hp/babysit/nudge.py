"""The other side of a person at the wheel: requests are put before a running fit, and its answers waited for."""

from __future__ import annotations

import json
import math
import time
import uuid
from dataclasses import replace
from pathlib import Path

from lightning_hp.babysit.mailbox import FOLDER, Answer, listens, moved, read, remove_folder, unlink
from lightning_hp.babysit.request import Request
from lightning_hp.study.files import write_whole

# Seconds between two looks for the answer.
_POLL = 0.05


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
                remove_folder(folder / FOLDER)
            return answer
        if time.monotonic() >= end:
            return None
        time.sleep(_POLL)


def withdraw(folder: Path, request: Request) -> bool:
    """Takes a request back. Whether the fit had not taken it yet."""
    path = folder / FOLDER / f"{request.id}.request"
    if not moved(path, ".withdrawn"):
        return False
    unlink(path.with_suffix(".withdrawn"))
    return True


def _read_answer(path: Path) -> Answer | None:
    try:
        answer = Answer(**json.loads(read(path)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        answer = Answer(False, 0, 0, f"{path} can't be read: {error}")
    unlink(path)
    return answer
