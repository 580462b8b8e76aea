"""Runs a fused job: trials of the same structure as one vectorised fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_hp.errors import ConfigError, LightningHPError, disk_error, storage_errors
from lightning_hp.fit.attempt import Attempt, begin, end, one_line
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
from lightning_hp.trial import Emit, Finished, Trial, Unfused, trial_folder


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
    left = {trial.number for trial in trials}
    attempts: list[Attempt] = []

    def finished(member: Member) -> None:
        attempt = member.attempt
        with storage_errors(attempt.folder):
            end(attempt, outcome := member.outcome())
        left.remove(attempt.trial.number)
        emit(Finished(attempt.trial.number, outcome, time.time()))

    try:
        for trial in trials:
            with storage_errors(trial_folder(recipe.root, trial.number)):
                attempts.append(begin(recipe, trial, emit))
        for alike in _by_progress([_member(recipe, attempt) for attempt in attempts]):
            _fit(recipe, alike, finished, always)
    except CannotFuseError as reason:
        if always:
            raise ConfigError(f"fuse='always', but these trials cannot train as one: {reason}") from reason
        emit(Unfused(tuple(sorted(left)), str(reason)))
    except (Exception, SystemExit) as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            # Lightning turns Ctrl-C inside a fit into sys.exit(1).
            raise KeyboardInterrupt from None
        if isinstance(error, (LightningHPError, SIGTERMException)) or disk_error(error) is not None:
            raise
        # By itself each trial fails with its own error, if it does.
        emit(Unfused(tuple(sorted(left)), one_line(error)))
    finally:
        for attempt in attempts:
            attempt.logger.experiment.close()


def _by_progress(members: Sequence[Member]) -> list[list[Member]]:
    """Those together that begin at the same step: what is interrupted may have been so at different ones."""
    found: dict[int, list[Member]] = {}
    for member in members:
        found.setdefault(member.step, []).append(member)
    return list(found.values())


def _fit(recipe: Recipe, members: Sequence[Member], finished: Callable[[Member], None], always: bool) -> None:
    first = members[0]
    reason = unsupported(first.model, list(first.trainer.callbacks))  # type: ignore[attr-defined]
    if reason is not None:
        raise CannotFuseError(reason)
    hparams = split(first.attempt.trial.hparams)
    settings = {**recipe.trainer, **hparams["trainer"]}
    seed_environment(data_seed(recipe.seed))
    set_rng_states(seeded_states(data_seed(recipe.seed)))
    data = recipe.make_data(hparams["data"])
    module = FusedModule(members, always)
    seeding = Seeding(recipe.seed, first.attempt.trial.seed)
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
