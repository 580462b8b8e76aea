"""Runs a fused job: trials of the same structure as one vectorised fit."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_hp.errors import ConfigError, LightningHPError, disk_error, storage_errors
from lightning_hp.fit.attempt import (
    Attempt,
    begin,
    end,
    ended,
    failure_of,
    is_interrupt,
    make_data,
    make_model,
    make_trial_trainer,
    one_line,
    out_of_memory,
    outcome_of,
    trainer_settings,
)
from lightning_hp.fit.circumstances import note_circumstances
from lightning_hp.fit.copies import hold_once
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.feed import Feed
from lightning_hp.fit.fused.member import Member
from lightning_hp.fit.fused.module import FusedModule
from lightning_hp.fit.fused.relay import Relay
from lightning_hp.fit.recipe import Recipe
from lightning_hp.fit.seeding import Seeding
from lightning_hp.fit.trainer import DEFAULTS, name_profile, trainer_kwargs
from lightning_hp.trial import Emit, Rung, Trial, Unfused

# Takes a trial's attempt that is over, what it has raised if it has failed, and whether another is over that comes next.
Finish = Callable[[Attempt, BaseException | None, bool], None]


def run_fused(
    recipe: Recipe, trials: Sequence[Trial], emit: Emit, always: bool = False, until: Rung | None = None
) -> list[Trial]:
    """Trains trials as one, or as many at a time as memory takes.

    Args:
        recipe: what all trials of the search share.
        trials: of one job.
        emit: takes their events.
        always: also where that is slower than one after another.
        until: where they pause; None if they go on to their end.

    Returns:
        The trials that have none to train with: where memory takes only one, or where no other stands at the same step.

    Raises:
        ConfigError: with ``always``, they cannot train as one.
    """
    attempts = {trial.number: begin(recipe, trial, emit, until) for trial in trials}

    def finish(attempt: Attempt, error: BaseException | None, more: bool) -> None:
        with storage_errors(attempt.folder):
            outcome = outcome_of(attempt.reporter) if error is None else failure_of(attempt.reporter, error)
            end(attempt, outcome)
        del attempts[attempt.trial.number]
        emit(ended(attempt.trial, outcome, more))

    alone, most = [], len(trials)
    try:
        while attempts:
            together = _at_one_step(list(attempts.values()))[:most]
            if len(together) == 1:
                alone.append(_leave(attempts, together[0]))
            elif not _fits(recipe, together, finish, always):
                _free_memory()
                left = [_leave(attempts, each) for each in together if each.trial.number in attempts]
                most = -(-len(left) // 2)
                # What they had written of their curves is written anew.
                attempts = {trial.number: begin(recipe, trial, emit, until) for trial in left} | attempts
            else:
                # Lightning passes over a fit without epochs or batches, and so over the end of its trials.
                alone += [_leave(attempts, each) for each in together if each.trial.number in attempts]
    except CannotFuseError as reason:
        if attempts and always:
            raise ConfigError(f"fuse='always', but these trials cannot train as one: {reason}") from reason
        if attempts:
            emit(Unfused(tuple(attempts), str(reason)))
    finally:
        for attempt in attempts.values():
            attempt.logger.experiment.close()
    return alone


def _at_one_step(attempts: list[Attempt]) -> list[Attempt]:
    """Those that begin where the first does: what is interrupted may have been so at different steps."""
    return [attempt for attempt in attempts if attempt.step == attempts[0].step]


def _leave(attempts: dict[int, Attempt], attempt: Attempt) -> Trial:
    attempt.logger.experiment.close()
    return attempts.pop(attempt.trial.number).trial


def _free_memory() -> None:
    # Modules and Trainers refer to each other.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _fits(recipe: Recipe, attempts: Sequence[Attempt], finish: Finish, always: bool) -> bool:
    """Trains attempts as one.

    Returns:
        Whether the memory was enough; if not, some may have finished.
    """
    try:
        with storage_errors(recipe.root):
            _fit(recipe, attempts, finish, always)
    except (CannotFuseError, LightningHPError, SIGTERMException):
        raise
    except (Exception, SystemExit) as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from None
        if disk_error(error) is not None:
            raise
        if out_of_memory(error):
            return False
        # By itself, the trial whose fault it is fails with it.
        raise CannotFuseError(one_line(error)) from error
    return True


def _fit(recipe: Recipe, attempts: Sequence[Attempt], finish: Finish, always: bool) -> None:
    first = attempts[0].trial
    data = make_data(recipe, first)
    members = _members(recipe, attempts, finish)
    if not members:
        return
    module = FusedModule(members, always)
    seeding = Seeding(recipe.seed, first.seed)
    relay = Relay(module, lambda member, more: finish(member.attempt, member.error, more), recipe.keep_checkpoints)
    own = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "callbacks": [seeding, Feed(), relay, *_shared([member.trainer for member in members])],
        "default_root_dir": attempts[0].folder,
    }
    if not is_overridden("validation_step", members[0].model):
        own["limit_val_batches"] = 0
    # Those that stop early are not kept.
    del members
    kwargs = trainer_kwargs({key: value for key, value in trainer_settings(recipe, first).items() if key not in own}, first)
    trainer = Trainer(**{**DEFAULTS, **kwargs, **own})
    name_profile(trainer)
    try:
        seeding.before_fit()
        trainer.fit(module, **data)
    finally:
        seeding.after_fit()


def _members(recipe: Recipe, attempts: Sequence[Attempt], finish: Finish) -> list[Member]:
    members: list[Member] = []
    for attempt in attempts:
        try:
            model = make_model(recipe, attempt.trial)
            if members:
                hold_once(model, members[0].model)
            trainer = make_trial_trainer(recipe, attempt)
            note_circumstances(attempt.folder, trainer, together=len(attempts), step=attempt.step)
            members.append(Member(attempt, model, trainer))
        except (Exception, SystemExit) as error:
            if out_of_memory(error) or disk_error(error) is not None:
                raise
            finish(attempt, error, False)
    return members


def _shared(trainers: Sequence[Trainer]) -> list[Callback]:
    """Takes what shows or measures a loop from the trials' Trainers, which run none; gives one trial's for the loop of all."""
    found: list[Callback] = []
    for trainer in trainers:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        found = found or [callback for callback in callbacks if isinstance(callback, ProgressBar)]
        trainer.callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]  # type: ignore[attr-defined]
        trainer.profiler = PassThroughProfiler()  # type: ignore[attr-defined]
    return found
