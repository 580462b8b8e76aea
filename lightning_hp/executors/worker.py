"""A worker process: it runs one job, sends its events, and ends. It does not outlive the search."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import io
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from lightning_hp.errors import LightningHPError
from lightning_hp.executors.channel import receive, send
from lightning_hp.executors.messages import Broken, Lost, Order, Raised, RankFailed, Warned
from lightning_hp.executors.pickling import send_by_value
from lightning_hp.executors.scratch import keep_sockets_in
from lightning_hp.fit.quiet import quiet
from lightning_hp.trial import Event, Finished, Job

# Seconds from one look at the worker's memory to the next.
MEMORY_CHECK_INTERVAL = 0.2


def serve(
    reader: io.BufferedReader, writer: BinaryIO, work: Callable[[], Callable[[Job, Callable[[Event], None]], None]]
) -> int:
    """Runs one job from beginning to end.

    Args:
        reader: gives one `Order`; its end means that the search is gone.
        writer: takes events, and a `Broken`, `Lost` or `Raised` if it comes to that.
        work: gives the function that trains a job.

    Returns:
        The exit code: 0 unless the job was interrupted.
    """
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        # So that the last words of a process that dies are heard.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    send_by_value()
    order: Order = receive(reader)
    # What is sent may warn while it is pickled.
    lock = threading.RLock()

    def tell(message: Any) -> None:
        with lock:
            send(writer, message)

    def emit(event: Event) -> None:
        if order.rank == 0:
            tell(event)
        elif isinstance(event, Finished) and event.outcome.state == "failed":
            # The first rank will only see that this one has gone.
            tell(RankFailed(event.outcome))

    threading.Thread(target=_end_with_the_search, args=(reader,), daemon=True).start()
    if order.memory_limit is not None:
        threading.Thread(target=_watch_memory, args=(order.memory_limit, tell), daemon=True).start()
    warnings.showwarning = _telling(tell)
    os.environ.update(order.environment)
    torch.set_num_threads(order.threads)
    # Lightning sets it when a strategy is made, and the loggers ask before.
    rank_zero_only.rank = order.rank  # type: ignore[attr-defined]
    try:
        run = work()
    except BaseException as error:
        tell(Broken(f"{type(error).__name__}: {error}", traceback.format_exc()))
        return 0
    try:
        with quiet(order.verbose):
            run(order.job, emit)
    except LightningHPError as error:
        tell(Raised(error))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def close_standard_input() -> None:
    """Leaves nothing to read there to the user's code, which would wait for ever or take what is not for it."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def end(code: int) -> None:
    """Ends this process after what the user's code has registered for that."""
    with contextlib.suppress(BaseException):
        # As Python does at its end: what threads still have to do is done first.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def main(scratch: str) -> None:
    """A worker that was not forked: its order comes by standard input, and its events go to standard output.

    Args:
        scratch: the search's folder for what is temporary.
    """
    keep_sockets_in(scratch)
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    close_standard_input()
    payload: bytes = receive(reader)
    end(serve(reader, writer, lambda: pickle.loads(payload)))


def _telling(tell: Callable[[Any], None]) -> Callable[..., None]:
    """Stands in for ``warnings.showwarning``, so that what all trials warn of alike is shown once."""
    show, worker = warnings.showwarning, os.getpid()

    def warn(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: str | None = None) -> None:
        # A process of a loader's would write its messages among the worker's.
        if file is not None or os.getpid() != worker:
            show(message, category, filename, lineno, file, line)
            return
        with contextlib.suppress(OSError):
            # Without the line of code, which is mostly the call that warns.
            tell(Warned(warnings.formatwarning(message, category, filename, lineno, "").rstrip()))

    return warn


def _end_with_the_search(reader: io.BufferedReader) -> None:
    with contextlib.suppress(OSError):
        # Nothing more is sent, so this returns when the other end is closed.
        reader.read(1)
    _kill_group()


def _watch_memory(limit: int, tell: Callable[[Any], None]) -> None:
    while (used := _memory()) <= limit:
        time.sleep(MEMORY_CHECK_INTERVAL)
    with contextlib.suppress(OSError):
        tell(Lost(f"out of memory: the worker used {used / 2**30:.2f} GiB, memory_limit is {limit / 2**30:.2f} GiB"))
    _kill_group()


def _memory() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        # Where there is no /proc, the most so far, which macOS gives in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _kill_group() -> None:
    # The loader's workers are in this process's group.
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
