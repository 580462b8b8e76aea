"""Event files without threads, of which hundreds of trials that train as one would have one each."""

from __future__ import annotations

import os
import socket
import time
from itertools import count
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

_VERSION = "brain.Event:2"
_numbers = count()


class EventWriter(SummaryWriter):
    """A SummaryWriter whose events are in the file when its methods return.

    torch's own hands them to a thread of each writer's, for which the training waits all the same: one at a time
    runs Python.

    Args:
        folder: where the file goes.
        purge_step: TensorBoard drops what earlier files there have from that step on.
    """

    def __init__(self, folder: str | Path, purge_step: int | None = None) -> None:
        super().__init__(str(folder), purge_step=purge_step)

    def _get_file_writer(self) -> FileWriter:
        # None again once it is closed.
        writer: FileWriter | None = self.file_writer
        if writer is None:
            writer = _FileWriter(self.log_dir)
            vars(self).update(file_writer=writer, all_writers={self.log_dir: writer})
            if self.purge_step is not None:
                writer.add_event(Event(step=self.purge_step, file_version=_VERSION))
                writer.add_event(Event(step=self.purge_step, session_log=SessionLog(status=SessionLog.START)))
                self.purge_step = None
        return writer


class _FileWriter(FileWriter):
    def __init__(self, folder: str) -> None:
        self.event_writer = _EventFile(folder)


class _EventFile:
    """Takes the place of TensorBoard's EventFileWriter."""

    def __init__(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._folder = folder
        seconds, rest = divmod(time.time_ns(), 10**9)
        # TensorBoard reads a run's files by name: of one that goes on within a second, the later has to come later.
        name = f"events.out.tfevents.{seconds:010d}.{rest:09d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._records = RecordWriter(_Appended(Path(folder, name)))
        self.add_event(Event(wall_time=time.time(), file_version=_VERSION))

    def get_logdir(self) -> str:
        return self._folder

    def add_event(self, event: Event) -> None:
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        """Does nothing, since nothing is held back."""

    def close(self) -> None:
        """Does nothing, since the file is not kept open."""


class _Appended:
    """A file that is open only while it is written: a process may have fewer files open than there are trials."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, content: bytes) -> None:
        # Python's files would take five times as long.
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            while content:
                content = content[os.write(file, content) :]
        finally:
            os.close(file)
