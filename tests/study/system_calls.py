"""Runs a function in a child process and kills it before a given system call: whatever moment a search can be killed at."""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
from collections.abc import Callable
from functools import partial

_TRACEME, _SYSCALL, _SETOPTIONS = 0, 24, 0x4200
# Stops for system calls carry this bit, and the child dies with its tracer.
_SYSCALL_STOP, _OPTIONS = signal.SIGTRAP | 0x80, 0x1 | 0x100000


def _ptrace(request: int, pid: int, data: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, None, data) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")


def run_until(call: int | None, run: Callable[[Callable[[str], None]], None]) -> tuple[list[str], int | None]:
    """Runs ``run`` in a fork of this process, which is killed before its system call number ``call``; None for never.

    Args:
        call: counted from 0.
        run: is given a function that takes note of what has been done so far.

    Returns:
        The notes, and how many system calls there were if it came to its end, else None.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            run(partial(_note, writer))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writer)
    calls = _trace(pid, call)
    with os.fdopen(reader) as notes:
        return notes.read().split("\n")[:-1], calls


def _note(writer: int, note: str) -> None:
    os.write(writer, f"{note}\n".encode())


def _trace(pid: int, call: int | None) -> int | None:
    _, status = os.waitpid(pid, 0)
    if os.WIFSTOPPED(status):
        _ptrace(_SETOPTIONS, pid, _OPTIONS)
    stops = 0
    deliver = 0
    while os.WIFSTOPPED(status):
        # Each call stops the process twice, when it begins and when it ends.
        if call is not None and stops == 2 * call + 1:
            os.kill(pid, signal.SIGKILL)
        else:
            _ptrace(_SYSCALL, pid, deliver)
        _, status = os.waitpid(pid, 0)
        if os.WIFSTOPPED(status):
            at_call = os.WSTOPSIG(status) == _SYSCALL_STOP
            stops += at_call
            deliver = 0 if at_call else os.WSTOPSIG(status)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "the function has failed"
        return stops // 2
    return None
