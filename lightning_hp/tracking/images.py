"""The report's pictures among TensorBoard's images, once a search has ended: in a file of their own in ROOT/search.

They are dropped when a trial ends, so those that are there show all that have ended.
"""

from __future__ import annotations

import io
import struct
import time
import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import summary_pb2
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from lightning_hp.errors import StorageError
from lightning_hp.study import Study
from lightning_hp.study.files import write_whole

# How the file's name ends, and those of no other.
ENDING = ".pictures"
# With fewer complete trials, which tell no importance either, there is little that the table does not show.
LEAST_TRIALS = 12


def show_pictures(folder: Path, study: Study) -> None:
    """Adds the pictures of a study to its search's run, as ``report/NAME``, unless they are there.

    Without matplotlib, or with fewer than 12 complete trials, it adds none.

    Args:
        folder: of the run.
        study: the search's, with all its trials.

    Raises:
        StorageError: the disk takes no data.
    """
    if _there(folder) or study.counts.get("complete", 0) < LEAST_TRIALS or find_spec("matplotlib") is None:
        return
    try:
        content = _events(study.pictures())
    except StorageError:
        raise
    except Exception as error:  # The search is over and its trials are safe, whatever becomes of the pictures.
        warnings.warn(f"TensorBoard lacks the search's pictures: {error!r}", stacklevel=2)
        return
    # TensorBoard, as it follows a run, reads its files by name: it has read the run's own, which began before.
    write_whole(folder / f"events.out.tfevents.{time.time():.0f}{ENDING}", content, sync=False)


def drop_pictures(folder: Path) -> None:
    """Removes the pictures from a search's run."""
    for path in _there(folder):
        path.unlink()


def _there(folder: Path) -> list[Path]:
    return [*folder.glob(f"events.out.tfevents.*{ENDING}")]


def _events(pictures: Iterable[tuple[str, bytes]]) -> bytes:
    """Pictures, by name and as PNG, as the content of an event file."""
    file = io.BytesIO()
    records = RecordWriter(file)
    records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    for name, content in pictures:
        records.write(Event(wall_time=time.time(), summary=image(f"report/{name}", content)).SerializeToString())
    return file.getvalue()


def image(tag: str, content: bytes) -> Any:
    """A PNG file, in RGB, as a summary to write; SummaryWriter's own method would decode it and make it anew.

    Args:
        tag: under which it is shown.
        content: of the file.
    """
    # Its first chunk begins with the size, after the signature and the chunk's own length and kind.
    width, height = struct.unpack(">II", content[16:24])
    shown = summary_pb2.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
    message = summary_pb2.Summary()
    message.value.add(tag=tag, image=shown)
    return message
