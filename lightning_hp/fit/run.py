"""Trains one job: seeds, model, data, Trainer, fit; everything that happens goes out as events."""

from __future__ import annotations

import shutil
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities.seed import isolate_rng

from lightning_hp.errors import MonitorError
from lightning_hp.fit.checkpoints import TrialCheckpointIO
from lightning_hp.fit.order import SharedOrder
from lightning_hp.fit.recipe import Recipe, trainer_kwargs
from lightning_hp.fit.reporter import Reporter
from lightning_hp.fit.rng import seeded_states, set_rng_states
from lightning_hp.seeds import data_seed
from lightning_hp.space import split
from lightning_hp.tracking.trial_run import TrialLogger
from lightning_hp.trial import Emit, EpochEnded, Finished, Job, Outcome, Started, Trial

# What a search sets where the user does not: one device a trial, and one picture of progress for all of them.
_DEFAULTS = {"accelerator": "auto", "devices": 1, "enable_progress_bar": False, "enable_model_summary": False}


def run_job(recipe: Recipe, job: Job, emit: Emit) -> None:
    """Trains the trials of a job, one after another, each in a full ``Trainer.fit``.

    Whatever a trial does, it ends with a `Finished` event; only an interrupt (Ctrl-C) leaves without one.

    Args:
        recipe: what all trials share.
        job: the trials.
        emit: takes the events, in order.
    """
    for trial in job.trials:
        emit(Started(trial, time.time(), _max_epochs(recipe, trial)))
        with isolate_rng():
            outcome = _run_trial(recipe, trial, emit)
        emit(Finished(trial.number, outcome, time.time()))


def load_model(recipe: Recipe, trial: Trial) -> LightningModule:
    """Rebuilds a trial's model by the factory and gives it the weights of its best epoch.

    Raises:
        LookupError: the trial wrote no checkpoint.
    """
    if trial.checkpoint is None or not trial.checkpoint.exists():
        raise LookupError(f"trial {trial.number} ({trial.state}) has no checkpoint to load")
    with isolate_rng():
        seed_everything(trial.seed, verbose=False)
        model = recipe.make_model(split(trial.hparams)["model"])
    # load_from_checkpoint would call the class with the hyperparameters that it saved, if it saved any.
    model.load_state_dict(torch.load(trial.checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    return model.eval()


def _run_trial(recipe: Recipe, trial: Trial, emit: Emit) -> Outcome:
    folder = recipe.trial_folder(trial.number)
    # An interrupted attempt starts anew, and its curves would mix with the new ones.
    shutil.rmtree(folder, ignore_errors=True)
    logger = TrialLogger(folder)
    logger.begin(recipe.space, trial.hparams)
    reporter = _reporter(recipe, trial, folder, emit)
    try:
        trainer = _fit(recipe, trial, folder, logger, reporter)
        reporter.check_monitor()
        outcome = _outcome(reporter, trainer)
    except MonitorError as error:
        outcome = _failure(reporter, error, error=error)
    except Exception as error:
        outcome = _failure(reporter, error)
    except SystemExit as error:
        # Lightning turns Ctrl-C inside a fit into sys.exit(1).
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        outcome = _failure(reporter, error)
    logger.end(outcome)
    return outcome


def _max_epochs(recipe: Recipe, trial: Trial) -> int | None:
    asked = split(trial.hparams)["trainer"].get("max_epochs", recipe.trainer.get("max_epochs"))
    return asked if isinstance(asked, int) and asked > 0 else None


def _reporter(recipe: Recipe, trial: Trial, folder: Path, emit: Emit) -> Reporter:
    saving = {**recipe.trainer, **split(trial.hparams)["trainer"]}.get("enable_checkpointing") is not False
    return Reporter(
        recipe.monitor,
        recipe.mode,
        folder / "checkpoints" if saving else None,
        lambda epoch, metrics: emit(EpochEnded(trial.number, epoch, metrics)),
    )


def _fit(recipe: Recipe, trial: Trial, folder: Path, logger: TrialLogger, reporter: Reporter) -> Trainer:
    hparams = split(trial.hparams)
    set_rng_states(seeded_states(data_seed(recipe.seed)))
    data = recipe.make_data(hparams["data"])
    seed_everything(trial.seed, workers=True, verbose=False)
    model = recipe.make_model(hparams["model"])
    kwargs: dict[str, Any] = _DEFAULTS | trainer_kwargs({**recipe.trainer, **hparams["trainer"]})
    order = SharedOrder(recipe.seed)
    own: list[Callback] = [order, reporter]
    if recipe.babysitter is not None:
        own.append(recipe.babysitter())
    users = kwargs.pop("callbacks")
    # With logger=False the user wants none at all.
    loggers = [] if kwargs["logger"] is False else [logger, *kwargs["logger"]]
    kwargs["logger"] = loggers
    if loggers and not any(isinstance(callback, LearningRateMonitor) for callback in users):
        own.append(LearningRateMonitor(log_momentum=True))
    plugins = kwargs.pop("plugins")
    if reporter.folder is not None and not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins = [*plugins, TrialCheckpointIO(reporter.folder)]
    # The user's False turns off our files, but without a Checkpoint callback there would be no reporter either.
    kwargs["enable_checkpointing"] = True
    trainer = Trainer(default_root_dir=folder, callbacks=[*own, *users], plugins=plugins, **kwargs)
    order.before_fit()
    trainer.fit(model, **data)
    return trainer


def _outcome(reporter: Reporter, trainer: Trainer) -> Outcome:
    record: dict[str, Any] = {"epochs": reporter.epochs, "metrics": reporter.metrics, "checkpoint": reporter.best_path}
    if reporter.diverged:
        return Outcome("diverged", reason=reporter.diverged, **record)
    return Outcome("complete", value=reporter.best, **record)


def _failure(reporter: Reporter, exception: BaseException, error: Exception | None = None) -> Outcome:
    return Outcome(
        "failed",
        epochs=reporter.epochs,
        metrics=reporter.metrics,
        reason=_one_line(exception),
        traceback="".join(traceback.format_exception(exception)),
        checkpoint=reporter.best_path,
        error=error,
    )


def _one_line(exception: BaseException) -> str:
    return " ".join(f"{type(exception).__name__}: {exception}".split())
