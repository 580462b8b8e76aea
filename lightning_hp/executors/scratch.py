"""A search's own folder for what its processes keep in the temporary folder, where a killed process leaves its part for ever.

The search removes it at its end. A search that is killed cannot: then the next one of the same user does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import util
from pathlib import Path

from lightning_hp.errors import cannot_write

PREFIX = "lightning-hp-"
# The path of a socket has at most 107 bytes (103 on macOS), and what multiprocessing adds is /pymp-12345678/listener-12345678.
_LONGEST = (107 if sys.platform == "linux" else 103) - 32


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """Makes the folder of a search and removes it at the end, after those of searches that were killed.

    A lock on the folder itself tells that it is in use, for it ends with the search, however that ends. (What cleans temporary
    folders, such as systemd, leaves alone what is locked.)

    Args:
        parent: in which it is; None for the temporary folder.
        prefix: how its name begins. What else begins so in there is taken for one that was left.

    Raises:
        StorageError: the parent cannot be written.
    """
    try:
        parent = _parent() if parent is None else parent
        _sweep(parent, prefix)
        folder, lock = _locked_folder(parent, prefix)
    except OSError as error:
        raise cannot_write(Path(error.filename or "the temporary folder"), error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def keep_sockets_in(folder: str) -> None:
    """Has multiprocessing keep its sockets there, in this process and all that it will start.

    Nothing else: what the user's code keeps in the temporary folder, such as compiled kernels, is to outlast the search.
    """
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        util.get_temp_dir()
    finally:
        tempfile.tempdir = before


def _parent() -> Path:
    parent = Path(tempfile.gettempdir())
    too_long = len(os.fsencode(parent)) + len(f"/{PREFIX}12345678") > _LONGEST
    return Path("/tmp") if too_long and os.name == "posix" else parent


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            return folder, _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            # Another search, sweeping, was faster, and has removed it or will.
            continue
        except OSError:
            # There are no such locks here, and nobody will sweep.
            return folder, None


def _sweep(parent: Path, prefix: str) -> None:
    if sys.platform == "win32":
        return
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """The descriptor that holds the folder; None on Windows, which has no such locks.

    Raises:
        BlockingIOError: another process holds it.
        FileNotFoundError: it is there no more.
        OSError: the file system has no such locks.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.lstat(folder)):
            raise FileNotFoundError(folder)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
