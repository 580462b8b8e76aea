"""Starting worker processes: what a process and its launcher are, and the launcher that starts each from nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, cast

from lightning_hp.executors.channel import send

# Forking a process that has used Apple's frameworks crashes it, and Windows has no fork.
CAN_FORK = sys.platform == "linux"

# Python has put the current folder first, where a file of the user's may be named as a module of Python's own. The argument
# holds the path and the arguments of the search, for which user code may ask.
_BEGIN = (
    "import sys; sys.path = [path for path in sys.path if path]; import json; "
    "sys.path[:], sys.argv, arguments = json.loads(sys.argv[1]); "
)


class Process(Protocol):
    """A worker process as the search sees it."""

    reader: io.BufferedReader
    writer: BinaryIO
    output: BinaryIO

    def kill(self) -> None:
        """Ends the process, and what it has started, at once."""

    def wait(self) -> int | None:
        """Waits for its end. The exit code, negative for a signal; None where that is not known."""

    def close(self) -> None:
        """Closes the reader and the writer."""


class Launcher(Protocol):
    """Starts worker processes that all do the same work."""

    def start(self) -> Process: ...

    def __enter__(self) -> Launcher: ...

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None: ...


class Spawner:
    """Starts each worker as a Python of its own, which takes the seconds that importing torch takes.

    Args:
        payload: the pickled function that trains a job.
        scratch: the search's folder for what is temporary.
    """

    def __init__(self, payload: bytes, scratch: Path) -> None:
        self._payload = payload
        self._scratch = str(scratch)
        self._processes: list[_Spawned] = []

    def __enter__(self) -> Spawner:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def start(self) -> Process:
        process = _Spawned(self._scratch)
        self._processes = [*filter(_Spawned.runs, self._processes), process]
        with contextlib.suppress(OSError):
            send(process.writer, self._payload)
        return process


class _Spawned:
    def __init__(self, scratch: str) -> None:
        command = python("work", scratch)
        pipe = subprocess.PIPE
        self._popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        self.reader = cast(io.BufferedReader, self._popen.stdout)
        self.writer = cast(BinaryIO, self._popen.stdin)
        self.output = cast(BinaryIO, self._popen.stderr)

    def kill(self) -> None:
        if hasattr(os, "killpg"):
            # What it has started may be there when it has ended.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        else:
            self._popen.kill()

    def wait(self) -> int | None:
        return self._popen.wait()

    def runs(self) -> bool:
        return self._popen.poll() is None

    def close(self) -> None:
        close(self.reader, self.writer)


def python(function: str, *arguments: Any) -> list[str]:
    """The command of a Python that finds the modules that this one finds, and begins with a function of ``boot``."""
    program = f"{_BEGIN}from lightning_hp.executors.boot import {function}; {function}(*arguments)"
    return [sys.executable, "-c", program, json.dumps([sys.path, sys.argv, arguments])]


def close(*files: io.IOBase | BinaryIO | socket.socket) -> None:
    """Closes them; what nobody has read goes with its reader."""
    for file in files:
        with contextlib.suppress(OSError):
            file.close()
