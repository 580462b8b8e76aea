"""The user's own loggers of a trial, beside ours: each in a folder of its own, and told the trial's hyperparameters.

A run of theirs begins with the first thing that they are told, on a server perhaps, where nothing takes it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

# What Lightning and its callbacks tell a logger.
_TOLD = ("log_hyperparams", "log_metrics", "log_graph", "after_save_checkpoint", "save", "finalize")

# What wandb itself gives out of the process's run.
_OF_THE_PROCESS = ("config", "log", "summary", "save", "define_metric", "log_artifact", "use_artifact", "watch", "unwatch")


def set_apart(logger: Any, name: str, study: str) -> None:
    """Has a logger that numbers its folders take the trial's name for one, unless it was given a version.

    Lightning's take the next number that is free when they begin, so that trials that begin together would share one. A folder
    that is there, of an interrupted trial or another study, is left alone: ``000012`` is followed by ``000012-1``.

    Of wandb a process has one run, which all its loggers share until it is ended, unless told otherwise, and Lightning leaves
    it open. Here each has its own, which ends with the trial. Unless it was given others its name is the trial's, and its group
    the study.

    Args:
        logger: any logger.
        name: of the trial's folder.
        study: the name of the study's.
    """
    if isinstance(logger, (CSVLogger, TensorBoardLogger)) and logger._version is None:
        names = (f"{name}-{number}" if number else name for number in count())
        logger._version = next(each for each in names if not Path(logger.root_dir, each).exists())
    if isinstance(logger, WandbLogger):
        given = {key: value for key, value in logger._wandb_init.items() if value is not None}
        logger._wandb_init = logger._wandb_init | {"name": name, "group": study, "reinit": "create_new"} | given
        logger.finalize = partial(_finalize, logger, logger.finalize)  # type: ignore[method-assign]


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


def lead(loggers: Iterable[Logger]) -> None:
    """Makes the first run in Weights & Biases that of the process, if it has none: ``wandb.log`` and ``watch`` go by it.

    Args:
        loggers: the user's, of a trial that is the only one to train in this process.
    """
    ours = [logger for logger in loggers if isinstance(logger, WandbLogger)]
    if not ours or rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return
    import wandb
    from wandb.sdk.lib import module

    run: Any = ours[0].experiment
    if wandb.run is None:
        # What ends the run takes this back.
        module.set_global(run, **{name: getattr(run, name) for name in _OF_THE_PROCESS})  # type: ignore[no-untyped-call]


def hold_back(loggers: Iterable[Logger]) -> Callable[[], None]:
    """Has loggers wait with what they are told, as long as a fit may yet come to nothing.

    Args:
        loggers: the user's. Whoever goes by their ``experiment`` is not held back.

    Returns:
        What tells them, in order, all that came for them, and what comes at once from then on; if it is never called, they have
        begun no run. More than once does no harm.
    """
    held: list[Callable[[], None]] = []
    waiting = [(logger, {name: getattr(logger, name) for name in _TOLD}) for logger in loggers]
    for logger, methods in waiting:
        for name, method in methods.items():
            setattr(logger, name, partial(_wait, held, method))

    def release() -> None:
        while waiting:
            logger, methods = waiting.pop(0)
            # Lightning asks for it before a fit, to have it begin.
            getattr(logger, "experiment", None)
            for name, method in methods.items():
                setattr(logger, name, method)
        while held:
            held.pop(0)()

    return release


def _finalize(logger: WandbLogger, finalize: Callable[[str], None], status: str) -> None:
    finalize(status)
    if logger._experiment is not None:
        logger._experiment.finish(exit_code=int(status != "success"))


def _wait(held: list[Callable[[], None]], method: Callable[..., None], *args: Any, **options: Any) -> None:
    held.append(partial(method, *args, **options))
