"""Quiet: what Lightning says once for a single fit would be said once a trial in a search."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_hp.errors import disk_error

_LOGGERS = ("lightning.pytorch", "lightning.fabric")
# The method by which a ModelCheckpoint says that its folder is not empty.
_WARNS = "_ModelCheckpoint__warn_if_dir_not_empty"


@contextmanager
def quiet(verbose: bool = False) -> Iterator[None]:
    """Silences Lightning's information and its hints on style. Other warnings are shown once; with ``verbose`` all is shown."""
    if verbose:
        yield
        return
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    excepthook = threading.excepthook

    def without_full_disks(args: threading.ExceptHookArgs) -> None:
        # TensorBoard writes in a thread, and raises its error again for whoever logs next: that ends the search.
        if disk_error(args.exc_value) is None:
            excepthook(args)

    threading.excepthook = without_full_disks
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            # Lightning calling something of torch that is on its way out is no news for the user.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"lightning\.")
            warnings.showwarning = _once(warnings.showwarning)
            yield
    finally:
        threading.excepthook = excepthook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _once(show: Callable[..., None]) -> Callable[..., None]:
    """Shows each warning once, as Python does by itself until filters change, which torch has them do in each fit."""
    shown = set[tuple[Any, ...]]()

    def warn(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: str | None = None) -> None:
        warned = (str(message), category, filename, lineno)
        if file is not None or warned not in shown:
            shown.add(warned)
            show(message, category, filename, lineno, file, line)

    return warn


def expect_files(callbacks: Iterable[Callback]) -> None:
    """Has checkpoint callbacks of a trial that goes on say nothing of the files in their folders, which are the trial's own."""
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint):
            # Not by a filter of warnings: with each new one, all that was shown once is shown again.
            vars(callback)[_WARNS] = lambda folder: None
