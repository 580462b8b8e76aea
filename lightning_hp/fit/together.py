"""One checkpoint file for trials that train as one, of which each trial's own is cut out when it ends or goes on by itself.

Until then ``last.ckpt`` in the folder of each is a hard link to that file: it goes with the last of them, and a trial's folder
has all that the trial needs. Tensors that are rows of a stack are in the file once, as the stack, and so are those that several
trials have in common.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lightning_hp.errors import disk_error, storage_errors
from lightning_hp.fit.checkpoints import BEST, LAST, PREVIOUS, sync, write_beside
from lightning_hp.fit.copies import is_lazy, place, possible
from lightning_hp.fit.safe import load

_TRIALS = "trials that train as one"


@dataclass(frozen=True)
class Part:
    """What one trial needs to go on.

    Attributes:
        folder: of the trial's checkpoints.
        identity: what tells this trial from any other.
        last: the checkpoint of its last epoch.
        best: the weights of its best epoch; None where they are in the folder already.
    """

    folder: Path
    identity: str
    last: dict[str, Any]
    best: dict[str, Any] | None


def write_together(parts: Sequence[Part]) -> None:
    """Writes what several trials need to go on, the file before staying until this one is there."""
    for part in parts:
        part.folder.mkdir(parents=True, exist_ok=True)
    with storage_errors(parts[0].folder):
        whole = {part.identity: {"last": part.last, "best": part.best} for part in parts}
        first, *others = [_new(part) for part in parts]
        write_beside({_TRIALS: _each_once(whole)}, first, durable=True)
        try:
            for other in others:
                other.unlink(missing_ok=True)
                os.link(first, other)
        except OSError as error:
            for part in parts:
                _new(part).unlink(missing_ok=True)
            if disk_error(error) is not None:
                raise
            # A file system without links: each has its own.
            for part in parts:
                own = _alone({"last": part.last, "best": part.best})
                _put(part.folder / LAST, **own)
            return
        for part in parts:
            if (part.folder / LAST).exists():
                (part.folder / LAST).replace(part.folder / PREVIOUS)
            _new(part).replace(part.folder / LAST)
        # Journals keep their order: with the last of these names all are on the disk.
        sync(parts[-1].folder)


def cut_out(folder: Path, identity: str) -> None:
    """Puts a trial's own checkpoints in the place of the file that it shares, if it does.

    A file that is damaged is left for those who look for a checkpoint to go on from.
    """
    found = False
    for path in filter(Path.exists, (folder / LAST, folder / PREVIOUS)):
        try:
            status = path.stat()
            content = _content(_File(status.st_dev, status.st_ino, status.st_mtime_ns, path))
        except Exception:
            continue
        part = content.get(_TRIALS, {}).get(identity)
        if part is not None and found:
            path.unlink()
        elif part is not None:
            with storage_errors(folder):
                _put(path, **_alone(part))
        found = True


@dataclass(frozen=True)
class _File:
    """A file, by whichever of its names."""

    device: int
    inode: int
    modified: int
    path: Path = field(compare=False)


# Trials that go on together look into the same file, one after the other.
@lru_cache(maxsize=1)
def _content(file: _File) -> dict[str, Any]:
    content: dict[str, Any] = load(file.path, mmap=True)
    return content


def _each_once(content: dict[str, Any]) -> dict[str, Any]:
    """With one tensor in the place of all lazy copies of it."""
    found: dict[Any, Tensor] = {}

    def one(tensor: Tensor) -> Tensor:
        if not possible(tensor) or not is_lazy(tensor):
            return tensor
        key = place(tensor)
        if key not in found:
            # To be saved, it gets memory of its own.
            found[key] = tensor.clone()
        return found[key]

    once: dict[str, Any] = apply_to_collection(content, Tensor, one)
    return once


def _new(part: Part) -> Path:
    return part.folder / f".{LAST}.new"


def _alone(part: dict[str, Any]) -> dict[str, Any]:
    # A row of a stack would take all rows along into the file.
    alone: dict[str, Any] = apply_to_collection(part, Tensor, Tensor.clone)
    return alone


def _put(path: Path, last: dict[str, Any], best: dict[str, Any] | None) -> None:
    # First, since the other says that it is there.
    for target, checkpoint in ((path.parent / BEST, best), (path, last)):
        if checkpoint is not None:
            new = target.with_name(f".{target.name}.new")
            write_beside(checkpoint, new, durable=True)
            new.replace(target)
