"""A trial that trains: its folder, curves, record and checkpoint, and the outcome that comes of them."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_hp.errors import MonitorError, chain
from lightning_hp.fit.checkpoints import Resumable, resumable, sync_best
from lightning_hp.fit.loggers import log_hparams
from lightning_hp.fit.quiet import expect_files
from lightning_hp.fit.recipe import Recipe
from lightning_hp.fit.reporter import Reporter
from lightning_hp.fit.rng import seed_environment, seed_rngs, seeded_states, set_rng_states
from lightning_hp.fit.safe import load
from lightning_hp.fit.together import cut_out
from lightning_hp.fit.trainer import TrialTrainer, make_trainer
from lightning_hp.seeds import data_seed
from lightning_hp.tracking.trial_run import TrialLogger
from lightning_hp.trial import LONGEST_REASON, Emit, EpochEnded, Event, Finished, Outcome, Paused, Rung, Trial, trial_folder


@dataclass(frozen=True)
class Attempt:
    """A trial that is about to train.

    Attributes:
        trial: which it is.
        labels: its hyperparameters as plain values.
        folder: of the trial.
        reporter: keeps its record.
        logger: of its curves.
        checkpoint: where it goes on; None where it begins.
    """

    trial: Trial
    labels: Mapping[str, Any]
    folder: Path
    reporter: Reporter
    logger: TrialLogger
    checkpoint: Resumable | None

    @property
    def step(self) -> int:
        """Optimizer steps that were made before."""
        return self.checkpoint.step if self.checkpoint is not None else 0


def make_data(recipe: Recipe, trial: Trial) -> dict[str, Any]:
    """A trial's data as keyword arguments of ``Trainer.fit``, under the study's random numbers."""
    seed_environment(data_seed(recipe.seed))
    set_rng_states(seeded_states(data_seed(recipe.seed)))
    return recipe.make_data(trial.hparams)


def make_model(recipe: Recipe, trial: Trial) -> LightningModule:
    """A trial's model, under the trial's own random numbers, which go on from there."""
    seed_rngs(trial.seed)
    return recipe.make_model(trial.hparams)


def make_trial_trainer(recipe: Recipe, attempt: Attempt, *first: Callback) -> TrialTrainer:
    """A trial's Trainer, which keeps its record; with the babysitter, if there is one.

    Args:
        recipe: what all trials share.
        attempt: the trial.
        first: callbacks to stand before all others.
    """
    trial, callbacks = attempt.trial, [*first]
    if recipe.babysitter is not None:
        callbacks.append(recipe.babysitter.for_search(recipe.monitor, recipe.mode))
    trainer = make_trainer(
        recipe.trainer_settings(trial.hparams), trial, attempt.folder, attempt.logger, callbacks, last=attempt.reporter
    )
    if attempt.checkpoint is not None:
        expect_files(trainer.callbacks)  # type: ignore[attr-defined]
    return trainer


def tell_loggers(attempt: Attempt, trainer: Trainer, model: LightningModule) -> None:
    """Tells the user's loggers a trial's hyperparameters, which begins their runs: once nothing speaks against its training."""
    log_hparams(users_loggers(attempt, trainer), attempt.labels, model)


def users_loggers(attempt: Attempt, trainer: Trainer) -> list[Logger]:
    """The loggers besides ours."""
    return [each for each in trainer.loggers if each is not attempt.logger]


def is_interrupt(error: BaseException) -> bool:
    """Whether Lightning has turned a Ctrl-C inside a fit into this sys.exit(1)."""
    return isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt)


def paused_before(recipe: Recipe, trial: Trial, until: Rung | None) -> Outcome | None:
    """How a trial stands that was at its rung before, when its search was interrupted; None if it has to train."""
    if until is None:
        return None
    reporter = _reporter(recipe, trial, lambda event: None, until)
    checkpoint = _resumable(reporter)
    if checkpoint is None:
        return None
    reporter.load_state_dict(load(checkpoint.path, mmap=True)["callbacks"]["Reporter"])
    reporter.paused = reporter.at_rung(checkpoint.step)
    return outcome_of(reporter) if reporter.paused else None


def begin(recipe: Recipe, trial: Trial, emit: Emit, until: Rung | None = None) -> Attempt:
    """Opens a trial's folder and curves, where it was interrupted or paused, or from nothing."""
    folder = trial_folder(recipe.root, trial.number)
    reporter = _reporter(recipe, trial, emit, until)
    checkpoint = _resumable(reporter)
    if checkpoint is None and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        # What an interrupted attempt has left is of no use, and its curves would mix with the new ones.
        shutil.rmtree(folder, ignore_errors=True)
    logger = TrialLogger(folder, resumed_step=checkpoint.batches if checkpoint is not None else None)
    logger.begin(recipe.space, trial.hparams)
    return Attempt(trial, recipe.space.labels(trial.hparams), folder, reporter, logger, checkpoint)


def end(attempt: Attempt, outcome: Outcome) -> None:
    """Closes a trial's curves, for good unless it has paused, when its files are safe."""
    if outcome.checkpoint is not None:
        # Before the study says that there is one.
        sync_best(outcome.checkpoint.parent)
    if outcome.state == "pruned":
        attempt.logger.pause()
    else:
        attempt.logger.end(outcome)


def ended(trial: Trial, outcome: Outcome, more: bool = False) -> Event:
    """What to tell of a trial whose fit is over: that it has paused, if it has, for others to say whether it is pruned.

    Args:
        trial: which it is.
        outcome: how it has ended.
        more: whether another has ended with it, of which is told next.
    """
    if outcome.state == "pruned":
        return Paused(trial.number, outcome, time.time())
    return Finished(trial.number, outcome, time.time(), more)


def outcome_of(reporter: Reporter) -> Outcome:
    """How a fit has ended. One that has paused is pruned, unless it goes on."""
    record: dict[str, Any] = {
        "epochs": reporter.epochs,
        "metrics": reporter.metrics,
        "checkpoint": reporter.best_path,
        "best": reporter.at_best,
    }
    if reporter.diverged:
        return Outcome("diverged", reason=reporter.diverged, **record)
    return Outcome("pruned" if reporter.paused else "complete", value=reporter.best, **record)


def failure_of(reporter: Reporter, exception: BaseException) -> Outcome:
    exception = reporter.error or exception
    return Outcome(
        "failed",
        epochs=reporter.epochs,
        metrics=reporter.metrics,
        reason=one_line(exception),
        traceback=_printable("".join(traceback.format_exception(exception))),
        checkpoint=reporter.best_path,
        best=reporter.at_best,
        error=exception if isinstance(exception, MonitorError) else None,
        retriable=out_of_memory(exception) or _lost_a_process(exception),
    )


def out_of_memory(exception: BaseException) -> bool:
    """Whether an exception says that there is not enough memory."""
    # torch's own class is only for devices.
    on_the_host = isinstance(exception, RuntimeError) and "can't allocate memory" in str(exception)
    return on_the_host or isinstance(exception, (torch.OutOfMemoryError, MemoryError))


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


def one_line(exception: BaseException) -> str:
    """An exception's class and message, as a reason to show."""
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


def _reporter(recipe: Recipe, trial: Trial, emit: Emit, until: Rung | None) -> Reporter:
    saving = recipe.trainer_settings(trial.hparams).get("enable_checkpointing") is not False
    return Reporter(
        recipe.monitor,
        recipe.mode,
        trial_folder(recipe.root, trial.number) / "checkpoints" if saving else None,
        repr((trial.number, trial.seed, recipe.space.labels(trial.hparams))),
        lambda epoch, metrics: emit(EpochEnded(trial.number, epoch, metrics)),
        until,
    )


def _resumable(reporter: Reporter) -> Resumable | None:
    if reporter.folder is None:
        return None
    cut_out(reporter.folder, reporter.identity)
    return resumable(reporter.folder, reporter.identity)
