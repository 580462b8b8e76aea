"""Messages between the search and a worker process: pickles behind their length, over a private pipe or socket pair."""

from __future__ import annotations

import pickle
import struct
from typing import Any, Protocol

from lightning_hp.executors import by_value


class Reader(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Writer(Protocol):
    def write(self, data: memoryview, /) -> int | None: ...

    def flush(self) -> None: ...


_LENGTH = struct.Struct(">Q")


def send(writer: Writer, message: Any) -> None:
    """Sends one message. Raises OSError when nobody is left at the other end."""
    data = by_value.dumps(message)
    left = memoryview(_LENGTH.pack(len(data)) + data)
    while left:
        # A signal may cut a write to a socket short.
        left = left[writer.write(left) or 0 :]
    writer.flush()


def receive(reader: Reader) -> Any:
    """Waits for one message. Raises EOFError when none will come any more."""
    (length,) = _LENGTH.unpack(_exactly(reader, _LENGTH.size))
    return pickle.loads(_exactly(reader, length))


def _exactly(reader: Reader, size: int) -> bytearray:
    data = bytearray(size)
    left = memoryview(data)
    while left:
        # A socket gives what has arrived.
        count = reader.readinto(left)
        if not count:
            raise EOFError
        left = left[count:]
    return data
