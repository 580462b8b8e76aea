"""The fork server: a process that has torch, Lightning and the user's code loaded, and forks a worker in milliseconds.

It talks to the search over an inherited socket pair and listens nowhere. It has no threads and never starts CUDA, so that
forking it is safe. It ends when the search does, and takes the workers and all that they have started with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from multiprocessing import context
from pathlib import Path
from typing import Any

import torch

from lightning_hp.executors import worker
from lightning_hp.executors.channel import receive, send
from lightning_hp.executors.lifeline import end_with_parent, signal_at_end_of
from lightning_hp.executors.messages import Serve
from lightning_hp.executors.scratch import keep_sockets_in

# Seconds that what the user's code has registered for the end may take.
END_PATIENCE = 30
# jemalloc's thread, which comes with pyarrow and so with pandas: a fork is prepared for, and goes on without it.
_FORKED_WELL = {"jemalloc_bg_thd"}


def main(descriptor: int, search: int) -> None:
    """Serves until the search closes its end.

    The search says what, by a `Serve`. It says ``ready`` when it is, or ``unsafe`` if importing the user's code has started
    CUDA or threads: then it ends, and another is to be started without ``preload``.

    Args:
        descriptor: of this end of the socket pair.
        search: the process that it serves.
    """
    control = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stream = control.makefile("rwb", buffering=0)
    try:
        asked: Serve = receive(stream)
    except (EOFError, OSError):
        os._exit(0)
    _take_on(asked)
    # A pool of threads would not survive a fork.
    torch.set_num_threads(1)
    before = _named_threads()
    loaded = _load(asked.payload) if asked.preload else None
    if asked.preload and not _can_be_forked(before):
        send(stream, ("unsafe", 0, 0))
        os._exit(0)
    # A worker's garbage collections would otherwise go through all that is loaded here, and copy every page of it.
    gc.collect()
    gc.freeze()
    # What is left in them would be printed by every worker again.
    sys.stdout.flush()
    sys.stderr.flush()
    _Server(control, stream, asked.payload, loaded, search).run()


def _take_on(asked: Serve) -> None:
    """Takes over what may have changed in the search since this process was started, as if it came from there only now."""
    sys.path[:] = asked.path
    os.environ.clear()
    os.environ.update(asked.environment)
    keep_sockets_in(asked.scratch)


def _load(payload: bytes) -> Any:
    # What fails here fails in each worker again, where there is a trial to blame.
    with contextlib.suppress(BaseException):
        return pickle.loads(payload)
    return None


def _can_be_forked(before: set[str]) -> bool:
    """Whether what the user's code has loaded survives a fork.

    Args:
        before: the threads that were there before it was loaded.
    """
    if torch.cuda.is_initialized() or threading.active_count() > 1:  # type: ignore[no-untyped-call]
        return False
    return _named_threads() <= before | _FORKED_WELL


def _named_threads() -> set[str]:
    """The names of the threads, Python's own or not, that have other names than their process.

    Those of the same name tell nothing: among them are those of each copy of OpenBLAS (numpy's, scipy's), which are ended
    before a fork and started again when they are needed.
    """
    names = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            names.add((task / "comm").read_text().strip())
    return names - {Path("/proc/self/comm").read_text().strip()}


class _Server:
    def __init__(self, control: socket.socket, stream: Any, payload: bytes, loaded: Any, search: int) -> None:
        self._control = control
        self._stream = stream
        self._work: Callable[[], Any] = (lambda: loaded) if loaded is not None else (lambda: pickle.loads(payload))
        self._workers: dict[int, int] = {}
        self._search = search
        self._pid = os.getpid()
        # Kept, since letting go of it in a worker would touch all that is in it.
        self._finalizers = weakref.finalize._registry  # type: ignore[attr-defined]
        # A worker's end, and the search's, wakes the server up by a byte in this pipe.
        self._wake, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(self._wakeup)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal_at_end_of(search, signal.SIGCHLD)

    def run(self) -> None:
        # In the middle of a message too, the search may be gone.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._serve()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(END_PATIENCE)
        for pid in self._workers:
            _kill_group(pid)
        for pid in self._workers:
            os.waitpid(pid, 0)
        self._stream.close()
        self._control.close()
        worker.end(0)

    def _serve(self) -> None:
        send(self._stream, ("ready", 0, 0))
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._wake], [], [])
            if self._wake in ready:
                os.read(self._wake, 4096)
                if os.getppid() != self._search:
                    return
                self._reap()
            if self._control.fileno() in ready:
                message, descriptors, _, _ = socket.recv_fds(self._control, 8, 2)
                if not message:
                    return
                self._fork(int.from_bytes(message, "big"), *descriptors)

    def _fork(self, number: int, channel: int, output: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_worker(channel, output)
        for descriptor in (channel, output):
            os.close(descriptor)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self._workers[pid] = number
        send(self._stream, ("started", number, pid))

    def _become_worker(self, channel: int, output: int) -> None:
        code = 1
        try:
            end_with_parent(self._pid)
            # What is to be cleaned up at the end of the server is not the worker's: a temporary folder that a module of the
            # user's has made belongs to all workers, and torch's thousands of registrations take longer than the fork.
            weakref.finalize._registry = {}  # type: ignore[attr-defined]
            os.setpgid(0, 0)
            # From Python 3.12 on, asyncio has done so already where it is loaded.
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(output, 1)
            os.dup2(output, 2)
            for descriptor in (output, self._wake, self._wakeup):
                os.close(descriptor)
            self._stream.close()
            self._control.close()
            worker.close_standard_input()
            _fork_by_default()
            connection = socket.socket(fileno=channel)
            code = worker.serve(connection.makefile("rb"), connection.makefile("wb"), self._work)
        except BaseException:
            traceback.print_exc()
        finally:
            worker.end(code)

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            number = self._workers.pop(pid, None)
            if number is not None:
                # The processes that it started, such as a loader's workers, would otherwise stay for seconds.
                _kill_group(pid)
                send(self._stream, ("ended", number, os.waitstatus_to_exitcode(status)))


def _fork_by_default() -> None:
    """Has a loader's workers take over what this worker has loaded, unless user code has chosen how they start.

    From Python 3.14 on they would come from a server of the trial's own, which has nothing loaded, and import torch each.
    """
    # Choosing it would leave user code, which may still want to, no choice.
    default: Any = context._default_context
    default._default_context = default.get_context("fork")


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
