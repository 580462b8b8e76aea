"""The report's pictures among TensorBoard's images, once a search has ended."""

from __future__ import annotations

import struct
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto import summary_pb2

from lightning_hp.errors import StorageError
from lightning_hp.study import Study

if TYPE_CHECKING:
    from lightning_hp.tracking.search_run import SearchRun

# With fewer complete trials, which tell no importance either, there is little that the table does not show.
LEAST_TRIALS = 12


def show_pictures(run: SearchRun, study: Study) -> None:
    """Adds the pictures of a study to its search's run, as ``report/NAME``.

    Without matplotlib, or with fewer than 12 complete trials, it adds none.

    Args:
        run: of the search, still open.
        study: the search's, with all its trials.
    """
    if study.counts.get("complete", 0) < LEAST_TRIALS or find_spec("matplotlib") is None:
        return
    try:
        run.show(study.pictures())
    except StorageError:
        raise
    except Exception as error:  # The search is over and its trials are safe, whatever becomes of the pictures.
        warnings.warn(f"TensorBoard lacks the search's pictures: {error!r}", stacklevel=2)


def image(tag: str, content: bytes) -> Any:
    """A PNG file as a summary to write; SummaryWriter's own method would decode it and make it anew.

    Args:
        tag: under which it is shown.
        content: of the file.
    """
    # Its first chunk begins with the size, after the signature and the chunk's own length and kind.
    width, height = struct.unpack(">II", content[16:24])
    shown = summary_pb2.Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=content)
    message = summary_pb2.Summary()
    message.value.add(tag=tag, image=shown)
    return message
