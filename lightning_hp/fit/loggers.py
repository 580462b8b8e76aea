"""The user's own loggers of a trial, beside ours: each in a folder of its own, and told the trial's hyperparameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger


def set_apart(logger: Any, name: str) -> None:
    """Has a logger that numbers its folders take the trial's name for one, unless it was given a version.

    Lightning's take the next number that is free when they begin, so that trials that begin together would share one. A folder
    that is there, of an interrupted trial or another study, is left alone: ``000012`` is followed by ``000012-1``.

    Args:
        logger: any logger.
        name: of the trial's folder.
    """
    if isinstance(logger, (CSVLogger, TensorBoardLogger)) and logger._version is None:
        names = (f"{name}-{number}" if number else name for number in count())
        logger._version = next(each for each in names if not Path(logger.root_dir, each).exists())


def log_hparams(loggers: Iterable[Logger], hparams: Mapping[str, Any], model: LightningModule) -> None:
    """Tells loggers a trial's hyperparameters, but for those that Lightning will tell them from the model.

    Those are the same, perhaps in another form, and some loggers take no second value.

    Args:
        loggers: the user's.
        hparams: by name, as plain values.
        model: the trial's.
    """
    own = model.hparams_initial if model._log_hyperparams else {}
    left = {name: value for name, value in hparams.items() if name.removeprefix("model.") not in own}
    for logger in loggers:
        if left:
            logger.log_hyperparams(left)
