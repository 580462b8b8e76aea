"""The process of a fork server, started when it is needed, or ahead of that by a command that knows that it will be.

What it imports takes seconds, and so does what the command imports: that way both do so at once.
"""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass

from lightning_hp.executors.launch import python

_ahead: Started | None = None


@dataclass(frozen=True)
class Started:
    """A process that waits to be told what to serve.

    Attributes:
        process: that will be the server.
        control: this end of the socket pair to it.
    """

    process: subprocess.Popen[bytes]
    control: socket.socket

    def stop(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()


def begin() -> None:
    """Starts one ahead. It is kept for the next `take`, or until `stop`."""
    global _ahead
    stop()
    _ahead = _start()


def take() -> Started:
    """The process that was started ahead, or else a new one. It is the caller's from now on."""
    global _ahead
    started, _ahead = _ahead, None
    return started or _start()


def stop() -> None:
    """Ends the process that was started ahead, if nobody has taken it."""
    global _ahead
    started, _ahead = _ahead, None
    if started is not None:
        started.stop()


def _start() -> Started:
    ours, theirs = socket.socketpair()
    command = python("serve", theirs.fileno(), os.getpid())
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
    theirs.close()
    return Started(process, ours)
