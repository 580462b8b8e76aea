"""A trial's own checkpoints: ``best.ckpt``, the weights of its best epoch, and ``last.ckpt``, all that a fit needs to go on.

Whatever moment the machine or the process dies at, a file that is there is whole, or the one before it still is. They hold
plain values and tensors, so that they are read back with ``weights_only=True`` and no code of theirs ever runs.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning_utilities.core.apply_func import apply_to_collection

from lightning_hp.errors import storage_errors
from lightning_hp.fit.copies import apart
from lightning_hp.fit.objects import HPARAMS, Objects
from lightning_hp.fit.pruned import unpruned
from lightning_hp.fit.safe import first_refused, load, why_not

# What of a checkpoint holds no rows of a stack.
_WITHOUT_ROWS = frozenset({"callbacks", "loops", "lr_schedulers", *HPARAMS})
# Seconds of training that a power cut may cost beyond the last whole epoch.
SYNC_INTERVAL = 1.0
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "last.previous.ckpt"


class TrialCheckpointIO(TorchCheckpointIO):
    """Writes and reads the checkpoints in one folder safely; those elsewhere, of the user's callbacks, as Lightning does.

    Args:
        folder: of the trial's own checkpoints.
        objects: of the fit's module.
    """

    def __init__(self, folder: Path, objects: Objects) -> None:
        self.folder = folder
        self.objects = objects
        self._synced = time.monotonic()
        self._checked = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if Path(path).parent != self.folder:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        if Path(path).name == BEST:
            checkpoint = self.objects.of_model(checkpoint)
        else:
            checkpoint = self.objects.to_go_on(checkpoint)
            if not self._checked:
                self._checked = True
                warn_if_refused(checkpoint)
        with storage_errors(Path(path)):
            self._write(checkpoint, Path(path))

    def _write(self, checkpoint: dict[str, Any], path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Against the death of the process a renamed file is safe at once; a power cut may take back what is not synced, which
        # costs milliseconds: at most a second's work of short epochs.
        due = time.monotonic() - self._synced >= SYNC_INTERVAL
        new = path.with_name(f".{path.name}.new")
        write_beside(checkpoint, new, durable=due and path.name == LAST)
        if path.name == LAST and path.exists():
            path.replace(self.folder / PREVIOUS)
        new.replace(path)
        if due and path.name == LAST:
            sync_best(self.folder)
            self._synced = time.monotonic()

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if Path(path).parent != self.folder:
            return super().load_checkpoint(path, map_location)
        checkpoint = self.objects.opened(moved(load(path, map_location or "cpu"), self.folder.parent))
        return checkpoint | {"state_dict": unpruned(checkpoint["state_dict"], self.objects.module)}


@dataclass(frozen=True)
class Resumable:
    """A checkpoint to go on from.

    Attributes:
        path: of the file.
        step: optimizer steps that had been made.
        batches: that had ended with such steps, by which curves are numbered. In manual optimization one may have several.
    """

    path: Path
    step: int
    batches: int


def resumable(folder: Path, identity: str) -> Resumable | None:
    """The newest checkpoint in a trial's folder that its fit can go on from; None where it has to start anew.

    Args:
        folder: of the trial's checkpoints.
        identity: the trial's; a checkpoint of another, which an older study may have left, is passed over.

    A file that a power cut has truncated, or that holds what is not safe to read, is passed over too, with a warning.
    """
    wrong = []
    for path in filter(Path.exists, (folder / LAST, folder / PREVIOUS)):
        found = _examined(path, identity)
        if isinstance(found, Resumable):
            break
        wrong.append(f"{path.name} {found}")
    else:
        found = None
    if wrong:
        then = "starts from zero" if found is None else f"goes on from {found.path.name}"
        warnings.warn(f"{folder}: {'; '.join(wrong)}: the trial {then}", stacklevel=2)
    return found


def _examined(path: Path, identity: str) -> Resumable | str:
    """A checkpoint, or what is wrong with it."""
    try:
        checkpoint = load(path, mmap=True)
        record = checkpoint["callbacks"]["Reporter"]
        whose, has_best, step = record["identity"], record["best"] is not None, checkpoint["global_step"]
        loops = checkpoint.get("loops", {}).get("fit_loop", {})
        batches = loops.get("epoch_loop.state_dict", {}).get("_batches_that_stepped", step)
    except Exception as error:
        return why_not(path, error)
    if whose != identity:
        return "is another trial's"
    best = path.parent / BEST
    try:
        if has_best:
            load(best, mmap=True)
    except Exception as error:
        return f"needs {BEST}, which {why_not(best, error)}"
    return Resumable(path, step, batches)


def moved(checkpoint: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A checkpoint whose callbacks name files of a trial by where its folder is now.

    >>> record = {"Reporter": {"folder": "/old"}, "Keeper": {"best": "/old/checkpoints/epoch=1.ckpt", "log": "/older"}}
    >>> moved({"callbacks": record}, Path("/new"))["callbacks"]["Keeper"]
    {'best': '/new/checkpoints/epoch=1.ckpt', 'log': '/older'}
    """
    before, now = checkpoint["callbacks"].get("Reporter", {}).get("folder"), str(folder)
    if before is None or before == now:
        return checkpoint
    return checkpoint | {"callbacks": _renamed(checkpoint["callbacks"], before, now)}


def whole(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint that stands for itself: a tensor that is a row of a stack would take all rows along into the file."""
    tensors = checkpoint.keys() - _WITHOUT_ROWS
    return checkpoint | {key: apply_to_collection(checkpoint[key], torch.Tensor, apart) for key in tensors}


def warn_if_refused(checkpoint: dict[str, Any]) -> None:
    """Says it where a checkpoint will not be read back."""
    refused = first_refused(checkpoint)
    if refused is not None:
        warnings.warn(
            f"{LAST} will not be read back, for safety, because of {refused}. If interrupted, the trial would start from zero: "
            "keep tensors and plain values in the state of callbacks, module and data",
            stacklevel=2,
        )


def _renamed(value: Any, before: str, now: str) -> Any:
    if type(value) is str:
        return now + value.removeprefix(before) if value == before or value.startswith(before + os.sep) else value
    if type(value) is dict:
        return {_renamed(key, before, now): _renamed(each, before, now) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_renamed(each, before, now) for each in value)
    return value


def sync_best(folder: Path) -> None:
    """Has the weights of the best epoch, and the names of all checkpoints, on the disk when it returns."""
    for path in (folder / BEST, folder):
        if path.exists():
            sync(path)


def sync(path: Path) -> None:
    """Has a file's content, or a folder's names, on the disk when it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_beside(checkpoint: dict[str, Any], new: Path, durable: bool) -> None:
    """Writes a checkpoint into a new file, which is then to be renamed.

    Args:
        checkpoint: what is written.
        new: where to.
        durable: whether its content is to be on the disk when this returns.
    """
    try:
        with new.open("wb") as file:
            torch.save(checkpoint, file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except BaseException:
        # On a full disk half a file would take the last space.
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
