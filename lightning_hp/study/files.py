"""Small files of a study that are there whole or not at all, whatever moment the machine dies at."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lightning_hp.errors import cannot_write


def write_whole(path: Path, content: str | bytes, sync: bool = True) -> None:
    """Writes a file over what stood there. The folder is made when missing.

    Args:
        path: of the file.
        content: all of it.
        sync: have it on the disk, and not only whole for other processes, when this returns.

    Raises:
        StorageError: the disk takes no data; what stood there still does.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
            if sync:
                # A file that is renamed before its data is on the disk may be empty after a power cut.
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
