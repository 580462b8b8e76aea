"""Quiet: what Lightning says once for a single fit would be said once a trial in a search."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_hp.errors import disk_error
from lightning_hp.fit.users_code import users_line_now

_OURS = Path(__file__).parent
_LOGGERS = ("lightning.pytorch", "lightning.fabric")
# The method by which a ModelCheckpoint says that its folder is not empty.
_WARNS = "_ModelCheckpoint__warn_if_dir_not_empty"


# What is no news for the user: hints on style apart, by the words that it begins with.
_NO_NEWS = (
    # Torch does one row after another in a fused step; that is timed, and taken only where it is faster.
    "There is a performance drop because we have not yet implemented",
    # Of hyperparameters that are objects: one is saved twice, or is not in Lightning's hparams.yaml.
    r"Attribute '.*' is an instance of `nn\.Module` and is already saved",
    "Skipping '.*' parameter because it is not possible to safely dump to YAML",
    # A finder of Lightning's goes back with its own callbacks only.
    "Be aware that when using `ckpt_path`.*'Reporter'",
    # It is a search that has momentum logged, where there is any.
    "You have set log_momentum=True, but some optimizers do not have momentum",
)


@contextmanager
def quiet(verbose: bool = False) -> Iterator[None]:
    """Silences Lightning's information and its hints on style, and tells any other warning once, however many trials give it.

    With ``verbose`` everything is told each time.
    """
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
            # Lightning calling something of torch that is on its way out.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"lightning\.")
            for message in _NO_NEWS:
                warnings.filterwarnings("ignore", message=message)
            warnings.showwarning = _once(warnings.showwarning)
            yield
    finally:
        threading.excepthook = excepthook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _once(show: Callable[..., None]) -> Callable[..., None]:
    """Shows each warning once. Python itself would show it again whenever anything has touched its filters."""
    shown: set[tuple[Any, ...]] = set()

    def show_new(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any, **more: Any) -> None:
        # Within a fused step what torch says of its caller is said of a line of ours.
        if _OURS in Path(filename).parents and (line := users_line_now()) is not None:
            filename, lineno = line[0].f_code.co_filename, line[1]
        key = (str(message), category, filename, lineno)
        if key not in shown:
            shown.add(key)
            show(message, category, filename, lineno, *rest, **more)

    return show_new


def expect_files(callbacks: Iterable[Callback]) -> None:
    """Has checkpoint callbacks of a trial that goes on say nothing of the files in their folders, which are the trial's own."""
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint):
            # Not by a filter of warnings: with each new one, all that was shown once is shown again.
            vars(callback)[_WARNS] = lambda folder: None
