"""Runs a fused job: trials of the same structure as one vectorised fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_hp.errors import storage_errors
from lightning_hp.fit.attempt import Attempt, begin, end, failure_of, outcome_of
from lightning_hp.fit.fused.member import Member
from lightning_hp.fit.fused.module import FusedModule
from lightning_hp.fit.fused.relay import Relay, unsupported
from lightning_hp.fit.fused.step import CannotFuseError
from lightning_hp.fit.recipe import Recipe
from lightning_hp.fit.rng import seed_environment, seed_rngs, seeded_states, set_rng_states
from lightning_hp.fit.seeding import Seeding
from lightning_hp.fit.trainer import DEFAULTS, make_trainer, trainer_kwargs
from lightning_hp.seeds import data_seed
from lightning_hp.space import split
from lightning_hp.trial import Emit, Finished, Trial


@dataclass(frozen=True)
class Joint:
    """What the members of a fused job have in common.

    Attributes:
        study_seed: decides data and batch order.
        data: makes the keyword arguments of ``Trainer.fit`` that are the data.
        settings: the Trainer's arguments.
    """

    study_seed: int
    data: Callable[[], dict[str, Any]]
    settings: dict[str, Any]


def fit_together(joint: Joint, members: Sequence[Member], finished: Callable[[Member], None]) -> None:
    """Trains the members in one fit.

    Args:
        joint: what they share.
        members: the trials.
        finished: called with each as soon as its trial is over.

    Raises:
        CannotFuseError: their models cannot be trained as one.
    """
    first = members[0]
    reason = unsupported(first.model, list(first.trainer.callbacks))  # type: ignore[attr-defined]
    if reason is not None:
        raise CannotFuseError(reason)
    seed_environment(data_seed(joint.study_seed))
    set_rng_states(seeded_states(data_seed(joint.study_seed)))
    data = joint.data()
    module = FusedModule(members)
    seeding = Seeding(joint.study_seed, first.trial.seed)
    own = {"logger": False, "enable_checkpointing": False, "callbacks": [seeding, Relay(module, finished)]}
    if not _validates(first.model):
        own["limit_val_batches"] = 0
    settings = {key: value for key, value in joint.settings.items() if key not in own}
    trainer = Trainer(**{**DEFAULTS, **trainer_kwargs(settings), **own})
    try:
        seeding.before_fit()
        trainer.fit(module, **data)
    finally:
        seeding.after_fit()


def _validates(model: LightningModule) -> bool:
    return type(model).validation_step is not LightningModule.validation_step


def run_fused(recipe: Recipe, trials: Sequence[Trial], emit: Emit) -> list[Trial]:
    """Trains trials together as far as they can be.

    Args:
        recipe: what all trials of the search share.
        trials: of one job.
        emit: takes their events.

    Returns:
        The trials that have to train by themselves.
    """
    attempts: dict[int, Attempt] = {}

    def finished(member: Member) -> None:
        attempt = attempts.pop(member.trial.number)
        with storage_errors(attempt.folder):
            outcome = outcome_of(attempt.reporter) if member.error is None else failure_of(attempt.reporter, member.error)
            end(attempt, outcome)
        emit(Finished(member.trial.number, outcome, time.time()))

    try:
        members = []
        for trial in trials:
            attempts[trial.number] = begin(recipe, trial, emit)
            members.append(_member(recipe, attempts[trial.number]))
        hparams = split(trials[0].hparams)
        settings = {**recipe.trainer, **hparams["trainer"]}
        fit_together(Joint(recipe.seed, lambda: recipe.make_data(hparams["data"]), settings), members, finished)
    except CannotFuseError as reason:
        rank_zero_warn(f"not fused: {reason}")
    for attempt in attempts.values():
        attempt.logger.experiment.close()
    return [attempt.trial for attempt in attempts.values()]


def _member(recipe: Recipe, attempt: Attempt) -> Member:
    hparams = split(attempt.trial.hparams)
    seed_rngs(attempt.trial.seed)
    model = recipe.make_model(hparams["model"])
    babysitters = [recipe.babysitter()] if recipe.babysitter is not None else []
    settings = {**recipe.trainer, **hparams["trainer"]}
    trainer = make_trainer(settings, attempt.folder, attempt.logger, [attempt.reporter, *babysitters])
    return Member(attempt.trial, model, trainer, attempt.reporter)
