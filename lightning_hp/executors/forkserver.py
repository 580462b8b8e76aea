"""Forking worker processes from a server that has all loaded: torch, Lightning and the user's code."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from lightning_hp.errors import LightningHPError
from lightning_hp.executors import ahead
from lightning_hp.executors.channel import receive, send
from lightning_hp.executors.launch import Process, close
from lightning_hp.executors.messages import Serve

# A server may be killed while it starts, like any process; one that cannot start is no use trying for ever.
START_TRIES = 4


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
        started = ahead.take()
        self._server, self._control = started.process, started.control
        self._stream = self._control.makefile("rwb", buffering=0)
        said = "gone"
        try:
            send(self._stream, Serve(self._payload, preload, self._scratch, sys.path, dict(os.environ)))
            said, _, _ = receive(self._stream)
        except (EOFError, OSError):
            pass
        finally:
            # Ctrl-C may come in these seconds, too.
            if said != "ready":
                self._stream.close()
                started.stop()
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
        close(self.reader, self.writer, self._connection)
