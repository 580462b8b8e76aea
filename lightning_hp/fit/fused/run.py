"""Runs a fused job: trials of the same structure as one vectorised fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_hp.errors import ConfigError, storage_errors
from lightning_hp.fit.attempt import Attempt, begin, end, failure_of, outcome_of
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.member import Member
from lightning_hp.fit.fused.module import FusedModule
from lightning_hp.fit.fused.relay import Relay, unsupported
from lightning_hp.fit.recipe import Recipe
from lightning_hp.fit.rng import seed_environment, seed_rngs, seeded_states, set_rng_states
from lightning_hp.fit.seeding import Seeding
from lightning_hp.fit.trainer import DEFAULTS, make_trainer, trainer_kwargs
from lightning_hp.seeds import data_seed
from lightning_hp.space import split
from lightning_hp.trial import Emit, Finished, Trial, Unfused


def run_fused(recipe: Recipe, trials: Sequence[Trial], emit: Emit, always: bool = False) -> None:
    """Trains trials as one.

    Args:
        recipe: what all trials of the search share.
        trials: of one job.
        emit: takes their events.
        always: also where that is slower than one after another.

    Raises:
        ConfigError: with ``always``, they cannot train as one.
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
        for alike in _by_progress(members):
            _fit(recipe, alike, finished, always)
    except CannotFuseError as reason:
        if always:
            raise ConfigError(f"fuse='always', but these trials cannot train as one: {reason}") from reason
        emit(Unfused(tuple(attempts), str(reason)))
    finally:
        for attempt in attempts.values():
            attempt.logger.experiment.close()


def _by_progress(members: Sequence[Member]) -> list[list[Member]]:
    """Those together that begin at the same step: what is interrupted may have been so at different ones."""
    found: dict[int, list[Member]] = {}
    for member in members:
        found.setdefault(member.step, []).append(member)
    return list(found.values())


def _fit(recipe: Recipe, members: Sequence[Member], finished: Callable[[Member], None], always: bool) -> None:
    first = members[0]
    reason = unsupported(first.model, list(first.trainer.callbacks), recipe.data is not None)  # type: ignore[attr-defined]
    if reason is not None:
        raise CannotFuseError(reason)
    hparams = split(first.trial.hparams)
    settings = {**recipe.trainer, **hparams["trainer"]}
    seed_environment(data_seed(recipe.seed))
    set_rng_states(seeded_states(data_seed(recipe.seed)))
    data = recipe.make_data(hparams["data"])
    module = FusedModule(members, always)
    seeding = Seeding(recipe.seed, first.trial.seed)
    own = {"logger": False, "enable_checkpointing": False, "callbacks": [seeding, Relay(module, finished)]}
    if not is_overridden("validation_step", first.model):
        own["limit_val_batches"] = 0
    kwargs = trainer_kwargs({key: value for key, value in settings.items() if key not in own})
    trainer = Trainer(**{**DEFAULTS, **kwargs, **own})
    try:
        seeding.before_fit()
        trainer.fit(module, **data)
    finally:
        seeding.after_fit()


def _member(recipe: Recipe, attempt: Attempt) -> Member:
    hparams = split(attempt.trial.hparams)
    seed_rngs(attempt.trial.seed)
    model = recipe.make_model(hparams["model"])
    babysitters = [recipe.babysitter()] if recipe.babysitter is not None else []
    settings = {**recipe.trainer, **hparams["trainer"]}
    trainer = make_trainer(settings, attempt.folder, attempt.logger, [attempt.reporter, *babysitters])
    return Member(attempt, model, trainer)
