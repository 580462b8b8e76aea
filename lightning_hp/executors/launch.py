"""Starting worker processes: forked from a server that has all loaded, or, where forking is not safe, each from nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, cast

from lightning_hp.errors import LightningHPError
from lightning_hp.executors.channel import receive, send

# Forking a process that has used Apple's frameworks crashes it, and Windows has no fork.
CAN_FORK = sys.platform == "linux"


# A server may be killed while it starts, like any process; one that cannot start is no use trying for ever.
START_TRIES = 4
# Python has put the current folder first, where a file of the user's may be named as a module of Python's own. The argument
# holds the path and the arguments of the search, for which user code may ask.
_BEGIN = (
    "import sys; sys.path = [path for path in sys.path if path]; import json; "
    "sys.path[:], sys.argv, arguments = json.loads(sys.argv[1]); "
)
_SERVER = _BEGIN + "from lightning_hp.executors.boot import serve; serve(*arguments)"
_WORKER = _BEGIN + "from lightning_hp.executors.boot import work; work(*arguments)"


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


class ForkServer:
    """Has a server fork the workers: some milliseconds each.

    Args:
        payload: the pickled function that trains a job.
        scratch: the search's folder for what is temporary.
    """

    def __init__(self, payload: bytes, scratch: Path) -> None:
        self._payload = payload
        self._scratch = str(scratch)
        self._count = 0
        self._processes: dict[int, _Forked] = {}

    def __enter__(self) -> ForkServer:
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        # The server ends when nobody is at the other end any more, and the workers with it.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._server.wait()
        self._listener.join()
        self._stream.close()
        self._control.close()

    def start(self) -> Process:
        if not self._listener.is_alive():
            self._begin()
        ours, theirs = socket.socketpair()
        output, output_end = os.pipe()
        self._count += 1
        process = self._processes[self._count] = _Forked(ours, os.fdopen(output, "rb"))
        try:
            socket.send_fds(self._control, [self._count.to_bytes(8, "big")], [theirs.fileno(), output_end])
        except OSError:
            # The server is gone: this process has ended before it began.
            process.ended(None)
        finally:
            theirs.close()
            os.close(output_end)
        return process

    def _begin(self) -> None:
        preload = True
        for _ in range(START_TRIES):
            said = self._started(preload)
            if said == "ready":
                self._listener = threading.Thread(target=self._listen, daemon=True)
                self._listener.start()
                return
            preload = preload and said != "unsafe"
        raise LightningHPError("the process that starts the workers has ended before it was ready; see what it printed")

    def _started(self, preload: bool) -> str:
        ours, theirs = socket.socketpair()
        command = _python(_SERVER, theirs.fileno(), preload, os.getpid(), self._scratch)
        self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
        theirs.close()
        self._control = ours
        self._stream = ours.makefile("rwb", buffering=0)
        said = "gone"
        try:
            send(self._stream, self._payload)
            said, _, _ = receive(self._stream)
        except (EOFError, OSError):
            pass
        finally:
            # Ctrl-C may come in these seconds, too.
            if said != "ready":
                self._stream.close()
                ours.close()
                self._server.kill()
                self._server.wait()
        return said

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                what, number, value = receive(self._stream)
                if what == "started":
                    self._processes[number].started(value)
                else:
                    self._processes.pop(number).ended(value)
        while self._processes:
            process = self._processes.popitem()[1]
            # A server that was killed has not ended what its workers have started.
            process.kill()
            process.ended(None)


class _Forked:
    def __init__(self, connection: socket.socket, output: BinaryIO) -> None:
        self.reader = connection.makefile("rb")
        self.writer: BinaryIO = connection.makefile("wb")
        self.output = output
        self.pid: int | None = None
        self._connection = connection
        self._code: int | None = None
        self._over = threading.Event()
        self._killed = False

    def kill(self) -> None:
        self._killed = True
        if self.pid is not None and not self._over.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def started(self, pid: int) -> None:
        self.pid = pid
        if self._killed:
            # It was to end before it had begun.
            self.kill()

    def wait(self) -> int | None:
        self._over.wait()
        return self._code

    def ended(self, code: int | None) -> None:
        self._code = code
        self._over.set()
        # A process that it has left behind may hold the other end. What has been sent can still be read.
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        _close(self.reader, self.writer, self._connection)


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
        command = _python(_WORKER, scratch)
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
        _close(self.reader, self.writer)


def _python(program: str, *arguments: Any) -> list[str]:
    return [sys.executable, "-c", program, json.dumps([sys.path, sys.argv, arguments])]


def _close(*files: io.IOBase | BinaryIO | socket.socket) -> None:
    for file in files:
        # What nobody has read goes with its reader.
        with contextlib.suppress(OSError):
            file.close()
