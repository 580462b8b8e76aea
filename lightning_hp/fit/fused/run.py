"""Runs a fused job: trials of the same structure as one vectorised fit."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

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
)
from lightning_hp.fit.circumstances import note_circumstances
from lightning_hp.fit.copies import hold_once
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.feed import Feed
from lightning_hp.fit.fused.member import Member
from lightning_hp.fit.fused.module import FusedModule
from lightning_hp.fit.fused.relay import Relay
from lightning_hp.fit.fused.structure import bytes_of, structure_of
from lightning_hp.fit.recipe import Recipe
from lightning_hp.fit.seeding import Seeding
from lightning_hp.fit.trainer import DEFAULTS, name_profile, trainer_kwargs
from lightning_hp.space import differing
from lightning_hp.trial import Emit, Grouped, Rung, Trial, Unfused

# Bytes that models may take which nobody needs any more: to find them all takes longer than to make a small one.
MOST_UNNEEDED = 2**28


def run_fused(
    recipe: Recipe, trials: Sequence[Trial], emit: Emit, always: bool = False, until: Rung | None = None
) -> list[Trial]:
    """Trains trials as one, or as many at a time as memory takes. Those of other structures than the first are given back.

    Args:
        recipe: what all trials of the search share.
        trials: of one job.
        emit: takes their events.
        always: also where that is slower than one after another.
        until: where they pause; None if they go on to their end.

    Returns:
        The trials that have none to train with: where memory takes only one, or where no other has such a model or stands at
        the same step.

    Raises:
        ConfigError: with ``always``, they cannot train as one.
    """
    attempts = _Attempts(recipe, emit, until)
    attempts.begin(trials)
    alone, most = [], len(trials)
    try:
        while attempts.open:
            together = attempts.at_one_step()[:most]
            if len(together) == 1:
                alone += attempts.leave(together)
            elif not _fits(recipe, together, attempts, always):
                # Also what was left before the search, by another perhaps.
                gc.unfreeze()
                _free_memory()
                left = attempts.leave(together)
                most = -(-len(left) // 2)
                # What they had written of their curves is written anew.
                attempts.begin(left)
            else:
                # Lightning passes over a fit without epochs or batches, and so over the end of its trials.
                alone += attempts.leave(together)
    except CannotFuseError as reason:
        if reason.anew:
            attempts.forget()
        refused = attempts.leave(list(attempts.open.values()))
        names = differing([trial.hparams for trial in refused]) if reason.by_numbers else None
        if refused and always and not names:
            raise ConfigError(f"fuse='always', but these trials cannot train as one: {reason}") from reason
        if refused:
            emit(Unfused(tuple(trial.number for trial in refused), str(reason), names))
    finally:
        attempts.leave(list(attempts.open.values()))
    return alone


class _Attempts:
    """The trials of a job as long as they are not over.

    Attributes:
        open: their attempts, by number, in the order in which they train.
    """

    def __init__(self, recipe: Recipe, emit: Emit, until: Rung | None) -> None:
        self.open: dict[int, Attempt] = {}
        self._recipe = recipe
        self._emit = emit
        self._until = until

    def begin(self, trials: Sequence[Trial]) -> None:
        """Opens these trials, to train before the others."""
        self.open = {trial.number: begin(self._recipe, trial, self._emit, self._until) for trial in trials} | self.open

    def at_one_step(self) -> list[Attempt]:
        """Those that begin where the first does: what is interrupted may have been so at different steps."""
        attempts = list(self.open.values())
        return [attempt for attempt in attempts if attempt.step == attempts[0].step]

    def leave(self, attempts: Sequence[Attempt]) -> list[Trial]:
        """Closes those that are open still, for others to go on with."""
        left = [self.open.pop(each.trial.number) for each in attempts if each.trial.number in self.open]
        for attempt in left:
            attempt.logger.experiment.close()
        return [attempt.trial for attempt in left]

    def forget(self) -> None:
        """Gives up the checkpoints of those that have begun from nothing and are open still."""
        for attempt in self.open.values():
            if attempt.checkpoint is None and attempt.reporter.folder is not None:
                shutil.rmtree(attempt.reporter.folder, ignore_errors=True)

    def finish(self, attempt: Attempt, error: BaseException | None, more: bool) -> None:
        """Ends a trial.

        Args:
            attempt: of the trial.
            error: what it has raised if it has failed.
            more: whether another is over that comes next.
        """
        with storage_errors(attempt.folder):
            outcome = outcome_of(attempt.reporter) if error is None else failure_of(attempt.reporter, error)
            end(attempt, outcome)
        del self.open[attempt.trial.number]
        self._emit(ended(attempt.trial, outcome, more))

    def group(self, structures: Mapping[int, str], staying: Sequence[Member]) -> None:
        """Tells the structures of the models, and gives back the trials that do not stay."""
        numbers = {member.attempt.trial.number for member in staying}
        # First, since others may begin with them at once.
        given_back = self.leave([self.open[number] for number in structures if number not in numbers])
        self._emit(Grouped(structures, tuple(trial.number for trial in given_back)))


def _free_memory() -> None:
    # Modules and Trainers refer to each other, and a module that saves its hyperparameters to itself.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _fits(recipe: Recipe, together: Sequence[Attempt], attempts: _Attempts, always: bool) -> bool:
    """Trains some of the attempts as one.

    Returns:
        Whether the memory was enough; if not, some may have finished.
    """
    try:
        with storage_errors(recipe.root):
            _fit(recipe, together, attempts, always)
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


def _fit(recipe: Recipe, together: Sequence[Attempt], attempts: _Attempts, always: bool) -> None:
    first = together[0].trial
    data = make_data(recipe, first)
    members = _members(recipe, together, attempts)
    if len(members) < 2:
        del members
        _free_memory()
        return
    for member in members:
        note_circumstances(member.attempt.folder, member.trainer, together=len(members), step=member.attempt.step)
    module = FusedModule(members, always)
    seeding = Seeding(recipe.seed, first.seed)
    relay = Relay(module, lambda member, more: attempts.finish(member.attempt, member.error, more), recipe.keep_checkpoints)
    own = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "callbacks": [seeding, Feed(), relay, *_shared([member.trainer for member in members])],
        "default_root_dir": together[0].folder,
    }
    if not is_overridden("validation_step", members[0].model):
        own["limit_val_batches"] = 0
    # Those that stop early are not kept.
    del members
    settings = recipe.trainer_settings(first.hparams)
    kwargs = trainer_kwargs({key: value for key, value in settings.items() if key not in own}, first)
    trainer = Trainer(**{**DEFAULTS, **kwargs, **own})
    name_profile(trainer)
    try:
        seeding.before_fit()
        trainer.fit(module, **data)
    finally:
        seeding.after_fit()


def _members(recipe: Recipe, together: Sequence[Attempt], attempts: _Attempts) -> list[Member]:
    """Makes the models, one after the other, and keeps those of the first one's structure."""
    members: list[Member] = []
    parts: set[nn.Module] = set()
    structures: dict[int, str] = {}
    unneeded = 0
    for attempt in together:
        try:
            made = _made(recipe, attempt, next(iter(structures.values()), None))
        except (Exception, SystemExit) as error:
            if out_of_memory(error) or disk_error(error) is not None:
                raise
            attempts.finish(attempt, error, False)
        else:
            structures[attempt.trial.number] = made.structure
            if made.member is not None:
                _refuse_in_common(made.member.model, parts)
                parts.update(made.member.model.modules())
                members.append(made.member)
                hold_once(made.member.model, members[0].model)
                continue
            unneeded += made.size
            if unneeded > MOST_UNNEEDED:
                _free_memory()
                unneeded = 0
    attempts.group(structures, members)
    return members


def _refuse_in_common(model: LightningModule, others: Collection[nn.Module]) -> None:
    """Refuses a part whose buffers steps may change, and that is the very same object among those of other models."""
    for path, part in model.named_modules():
        if part in others and part.training and next(part.buffers(recurse=False), None) is not None:
            raise CannotFuseError(f"{path} is one module of several trials, which each would change", by_numbers=False)


@dataclass(frozen=True)
class _Made:
    """A model that was made: its structure and size in bytes, and the member that has it; None if it is not needed."""

    structure: str
    size: int
    member: Member | None


def _made(recipe: Recipe, attempt: Attempt, wanted: str | None) -> _Made:
    """Makes a trial's model, for a member if it has the wanted structure, or if there is none yet."""
    model = make_model(recipe, attempt.trial)
    structure, size = structure_of(model), bytes_of(model)
    if wanted not in (None, structure):
        return _Made(structure, size, None)
    return _Made(structure, size, Member(attempt, model, make_trial_trainer(recipe, attempt)))


def _shared(trainers: Sequence[Trainer]) -> list[Callback]:
    """Takes what shows or measures a loop from the trials' Trainers, which run none; gives one trial's for the loop of all."""
    found: list[Callback] = []
    for trainer in trainers:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        found = found or [callback for callback in callbacks if isinstance(callback, ProgressBar)]
        trainer.callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]  # type: ignore[attr-defined]
        trainer.profiler = PassThroughProfiler()  # type: ignore[attr-defined]
    return found
