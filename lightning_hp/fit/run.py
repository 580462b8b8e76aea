"""Trains one job: seeds, model, data, Trainer, fit; everything that happens goes out as events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.plugins import DoublePrecision
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_hp.errors import disk_error, storage_errors
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
    outcome_of,
    paused_before,
    tell_loggers,
    users_loggers,
)
from lightning_hp.fit.circumstances import note_circumstances
from lightning_hp.fit.fused.run import run_fused
from lightning_hp.fit.loggers import lead
from lightning_hp.fit.objects import tell_module
from lightning_hp.fit.pruned import unpruned
from lightning_hp.fit.recipe import Recipe
from lightning_hp.fit.rng import isolated_rngs
from lightning_hp.fit.safe import load
from lightning_hp.fit.seeding import Seeding
from lightning_hp.trial import Emit, Job, Outcome, Rung, Trial, trial_folder


def run_job(recipe: Recipe, job: Job, emit: Emit, always: bool = False) -> None:
    """Trains the trials of a job: one in a full ``Trainer.fit``, several as one vectorised fit.

    Whatever a trial does, it ends with a `Finished` event, or a `Paused` at its job's rung; only an interrupt (Ctrl-C, SIGTERM)
    and a disk that takes no more leave without one. A trial that was interrupted or paused before goes on from its last
    checkpoint. Trials that cannot train as one are given back by an `Unfused`.

    Args:
        recipe: what all trials share.
        job: the trials.
        emit: takes the events, in order.
        always: train several as one even where that is slower.

    Raises:
        StorageError: the study's folder takes no more data.
        ConfigError: with ``always``, they cannot train as one.
    """
    with isolated_rngs():
        trials = []
        for trial in job.trials:
            outcome = paused_before(recipe, trial, job.until)
            if outcome is None:
                trials.append(trial)
            else:
                emit(ended(trial, outcome))
        for trial in run_fused(recipe, trials, emit, always, job.until) if len(trials) > 1 else trials:
            emit(ended(trial, _run_trial(recipe, trial, emit, job.until)))


@dataclass(frozen=True)
class Training:
    """What executors run: `run_job` for the jobs of one search.

    Args:
        recipe: what all trials share.
        always: train several as one even where that is slower.
    """

    recipe: Recipe
    always: bool = False

    @property
    def root(self) -> Path:
        """The study's folder."""
        return self.recipe.root

    def under(self, root: Path) -> Training:
        """The same in another folder, such as one of another machine."""
        return replace(self, recipe=replace(self.recipe, root=root))

    def __call__(self, job: Job, emit: Emit) -> None:
        run_job(self.recipe, job, emit, self.always)


def load_model(recipe: Recipe, trial: Trial) -> LightningModule:
    """Rebuilds a trial's model by the factory and gives it the weights of its best epoch.

    Raises:
        LookupError: the trial wrote no checkpoint.
    """
    if trial.checkpoint is None or not trial.checkpoint.exists():
        raise LookupError(f"trial {trial.number} ({trial.state}) has no checkpoint to load; see keep_checkpoints")
    with isolated_rngs():
        model = make_model(recipe, trial)
        model.configure_model()
    # load_from_checkpoint would call the class with the hyperparameters that it saved, if it saved any.
    checkpoint = load(trial.checkpoint)
    tell_module(model, checkpoint)
    model.load_state_dict(unpruned(checkpoint["state_dict"], model), strict=model.strict_loading)
    return model.eval()


def _run_trial(recipe: Recipe, trial: Trial, emit: Emit, until: Rung | None) -> Outcome:
    with storage_errors(trial_folder(recipe.root, trial.number)):
        attempt = begin(recipe, trial, emit, until)
        outcome = _fitted(recipe, attempt)
        end(attempt, outcome)
    return outcome


def _fitted(recipe: Recipe, attempt: Attempt) -> Outcome:
    reporter = attempt.reporter
    try:
        _fit(recipe, attempt)
        reporter.check_monitor(reporter.metrics)
        return outcome_of(reporter)
    except SIGTERMException:
        raise
    except Exception as error:
        if disk_error(error) is not None:
            raise
        return failure_of(reporter, error)
    except SystemExit as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from None
        return failure_of(reporter, error)


def _fit(recipe: Recipe, attempt: Attempt) -> None:
    data = make_data(recipe, attempt.trial)
    model = make_model(recipe, attempt.trial)
    seeding = Seeding(recipe.seed, attempt.trial.seed)
    trainer = make_trial_trainer(recipe, attempt, seeding)
    _warn_of_lost_average(trainer, model)
    tell_loggers(attempt, trainer, model)
    lead(users_loggers(attempt, trainer))
    note_circumstances(attempt.folder, trainer, together=1, step=attempt.step)
    if attempt.checkpoint is None:
        # With an OnExceptionCheckpoint it would go on from what any trial has left there.
        trainer._checkpoint_connector._user_managed = True
    elif isinstance(trainer.precision_plugin, DoublePrecision):
        # Lightning reads weights back before it has made the model's as fine.
        trainer.precision_plugin.convert_module(model)
    try:
        seeding.before_fit()
        trainer.fit(model, **data, ckpt_path=attempt.checkpoint.path if attempt.checkpoint is not None else None)
    finally:
        seeding.after_fit()
    if trainer.fit_loop.epoch_loop.batch_progress.total.ready == 0:
        # Lightning passes over such a fit, and then it would seem that the metric is missing.
        raise ValueError("there is no batch to train on: is batch_size above the size of the data, with drop_last=True?")


def _warn_of_lost_average(trainer: Trainer, model: LightningModule) -> None:
    """Says where what a callback makes of the weights comes after all that is validated and saved."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    averages = any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks)
    # For those Lightning trains an epoch more, with the average.
    if averages and not any(isinstance(part, _BatchNorm) for part in model.modules()):
        rank_zero_warn(
            "StochasticWeightAveraging makes its average after the last validation: values and checkpoints are of the weights "
            "before it. Lightning's WeightAveraging and EMAWeightAveraging have theirs validated and saved"
        )
