"""Trains one job: seeds, model, data, Trainer, fit; everything that happens goes out as events."""

from __future__ import annotations

import shutil
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_hp.errors import MonitorError, chain, disk_error, storage_errors
from lightning_hp.fit.checkpoints import resumable, sync_best
from lightning_hp.fit.recipe import Recipe
from lightning_hp.fit.reporter import Reporter
from lightning_hp.fit.rng import isolated_rngs, seed_environment, seed_rngs, seeded_states, set_rng_states
from lightning_hp.fit.safe import load
from lightning_hp.fit.seeding import Seeding
from lightning_hp.fit.trainer import make_trainer
from lightning_hp.seeds import data_seed
from lightning_hp.space import split
from lightning_hp.tracking.trial_run import TrialLogger
from lightning_hp.trial import LONGEST_REASON, Emit, EpochEnded, Finished, Job, Outcome, Trial, trial_folder


def run_job(recipe: Recipe, job: Job, emit: Emit) -> None:
    """Trains the trials of a job, one after another, each in a full ``Trainer.fit``.

    Whatever a trial does, it ends with a `Finished` event; only an interrupt (Ctrl-C, SIGTERM) and a disk that takes no more
    leave without one. A trial that was interrupted before goes on from its last checkpoint.

    Args:
        recipe: what all trials share.
        job: the trials.
        emit: takes the events, in order.

    Raises:
        StorageError: the study's folder takes no more data.
    """
    for trial in job.trials:
        with isolated_rngs():
            outcome = _run_trial(recipe, trial, emit)
        emit(Finished(trial.number, outcome, time.time()))


def load_model(recipe: Recipe, trial: Trial) -> LightningModule:
    """Rebuilds a trial's model by the factory and gives it the weights of its best epoch.

    Raises:
        LookupError: the trial wrote no checkpoint.
    """
    if trial.checkpoint is None or not trial.checkpoint.exists():
        raise LookupError(f"trial {trial.number} ({trial.state}) has no checkpoint to load")
    with isolated_rngs():
        seed_rngs(trial.seed)
        model = recipe.make_model(split(trial.hparams)["model"])
        model.configure_model()
    # load_from_checkpoint would call the class with the hyperparameters that it saved, if it saved any.
    model.load_state_dict(load(trial.checkpoint)["state_dict"])
    return model.eval()


def _run_trial(recipe: Recipe, trial: Trial, emit: Emit) -> Outcome:
    folder = trial_folder(recipe.root, trial.number)
    reporter = _reporter(recipe, trial, folder, emit)
    checkpoint = resumable(reporter.folder, reporter.identity) if reporter.folder is not None else None
    if checkpoint is None and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        # What an interrupted attempt has left is of no use, and its curves would mix with the new ones.
        shutil.rmtree(folder, ignore_errors=True)
    logger = TrialLogger(folder, resumed_step=checkpoint.step if checkpoint is not None else None)
    with storage_errors(folder):
        logger.begin(recipe.space, trial.hparams)
        outcome = _fitted(recipe, trial, folder, logger, reporter, checkpoint.path if checkpoint is not None else None)
        if outcome.checkpoint is not None:
            # Before the study says that there is one.
            sync_best(outcome.checkpoint.parent)
        logger.end(outcome)
    return outcome


def _fitted(
    recipe: Recipe, trial: Trial, folder: Path, logger: TrialLogger, reporter: Reporter, checkpoint: Path | None
) -> Outcome:
    try:
        _fit(recipe, trial, folder, logger, reporter, checkpoint)
        reporter.check_monitor(reporter.metrics)
        return _outcome(reporter)
    except SIGTERMException:
        raise
    except Exception as error:
        if disk_error(error) is not None:
            raise
        return _failure(reporter, reporter.error or error)
    except SystemExit as error:
        # Lightning turns Ctrl-C inside a fit into sys.exit(1).
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        return _failure(reporter, error)


def _reporter(recipe: Recipe, trial: Trial, folder: Path, emit: Emit) -> Reporter:
    saving = {**recipe.trainer, **split(trial.hparams)["trainer"]}.get("enable_checkpointing") is not False
    return Reporter(
        recipe.monitor,
        recipe.mode,
        folder / "checkpoints" if saving else None,
        repr((trial.number, trial.seed, recipe.space.labels(trial.hparams))),
        lambda epoch, metrics: emit(EpochEnded(trial.number, epoch, metrics)),
    )


def _fit(recipe: Recipe, trial: Trial, folder: Path, logger: TrialLogger, reporter: Reporter, checkpoint: Path | None) -> None:
    hparams = split(trial.hparams)
    seed_environment(data_seed(recipe.seed))
    set_rng_states(seeded_states(data_seed(recipe.seed)))
    data = recipe.make_data(hparams["data"])
    seed_rngs(trial.seed)
    model = recipe.make_model(hparams["model"])
    seeding = Seeding(recipe.seed, trial.seed)
    babysitters = [recipe.babysitter()] if recipe.babysitter is not None else []
    trainer = make_trainer({**recipe.trainer, **hparams["trainer"]}, folder, logger, [seeding, reporter, *babysitters])
    try:
        seeding.before_fit()
        trainer.fit(model, **data, ckpt_path=checkpoint)
    finally:
        seeding.after_fit()


def _outcome(reporter: Reporter) -> Outcome:
    record: dict[str, Any] = {"epochs": reporter.epochs, "metrics": reporter.metrics, "checkpoint": reporter.best_path}
    if reporter.diverged:
        return Outcome("diverged", reason=reporter.diverged, **record)
    return Outcome("complete", value=reporter.best, **record)


def _failure(reporter: Reporter, exception: BaseException) -> Outcome:
    return Outcome(
        "failed",
        epochs=reporter.epochs,
        metrics=reporter.metrics,
        reason=_one_line(exception),
        traceback=_printable("".join(traceback.format_exception(exception))),
        checkpoint=reporter.best_path,
        error=exception if isinstance(exception, MonitorError) else None,
        retriable=isinstance(exception, (torch.OutOfMemoryError, MemoryError)) or _lost_a_process(exception),
    )


def _lost_a_process(exception: BaseException) -> bool:
    """Whether a process that the fit had started, such as a loader's worker, was killed."""
    # Only by its words does torch tell one from a worker that the user's code has ended.
    told = " ".join(map(_message, chain(exception)))
    if "DataLoader worker (pid" in told:
        return "with exit code" not in told
    # Its connections end before it is known to be dead.
    frames = [frame for frame, _ in traceback.walk_tb(exception.__traceback__)]
    raised_in = str(frames[-1].f_globals.get("__name__")) if frames else ""
    return isinstance(exception, (EOFError, OSError)) and raised_in.startswith("multiprocessing.")


def _one_line(exception: BaseException) -> str:
    line = _printable(" ".join(f"{type(exception).__name__}: {_message(exception)}".split()))
    if len(line) <= LONGEST_REASON:
        return line
    # What went wrong is at the end where the message holds another process's traceback.
    half = LONGEST_REASON // 2
    return f"{line[:half]} ... {line[-half:]}"


def _message(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as error:
        return f"(its message raised {type(error).__name__})"


def _printable(text: str) -> str:
    # Undecodable file names come as lone surrogates, which no file and no database takes.
    return text.encode("utf-8", "backslashreplace").decode()
