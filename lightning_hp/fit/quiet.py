"""Quiet: what Lightning says once for a single fit would be said once a trial in a search."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.warnings import PossibleUserWarning

_LOGGERS = ("lightning.pytorch", "lightning.fabric")


@contextmanager
def quiet(verbose: bool = False) -> Iterator[None]:
    """Silences Lightning's information and its hints on style. Other warnings stay, and so does everything with ``verbose``."""
    if verbose:
        yield
        return
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            # Lightning calling something of torch that is on its way out is no news for the user.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
