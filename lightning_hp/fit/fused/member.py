"""One trial of a fused job: its own model, Trainer, optimizer, schedulers, callbacks, loggers and record.

Its Trainer runs no loop. It shares the loop of the Trainer that does, so that epoch, step, limits and loaders are the same, and
is otherwise its own: what the trial's hooks, callbacks and logs do through it is done to this trial only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.utilities import _log_hyperparams
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer import call
from lightning.pytorch.trainer.connectors.data_connector import _DataHookSelector
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import _ModuleMode

from lightning_hp.babysit import Babysitter
from lightning_hp.errors import disk_error
from lightning_hp.fit.attempt import Attempt, outcome_of, tell_loggers, users_loggers
from lightning_hp.fit.fused.checkpoints import Checkpoints
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.hooks import (
    BATCH_HOOKS,
    call_callbacks,
    call_model,
    call_setup,
    own_hook,
    runs_users,
    runs_users_between_steps,
)
from lightning_hp.fit.fused.journal import Journal
from lightning_hp.fit.fused.logs import Entry
from lightning_hp.fit.fused.unsupported import unsupported
from lightning_hp.fit.loggers import hold_back
from lightning_hp.fit.rng import rng_states, set_rng_states
from lightning_hp.fit.trainer import TrialTrainer
from lightning_hp.trial import Outcome, Trial


class Member:
    """A trial while it trains with others.

    Args:
        attempt: the trial, its record, and the checkpoint that it goes on from.
        model: made by its own factory.
        trainer: made from its own arguments, with its callbacks and loggers.

    Attributes:
        error: what a hook of this trial raised; it has failed then.
        tell_loggers: has the user's loggers begin their runs, which wait for it.
    """

    def __init__(self, attempt: Attempt, model: LightningModule, trainer: TrialTrainer) -> None:
        self.attempt = attempt
        self.model = model
        self.trainer = trainer
        self.reporter = attempt.reporter
        self._checkpoint = attempt.checkpoint
        self.tell_loggers = hold_back(users_loggers(attempt, trainer))
        self.error: BaseException | None = None
        self._rng = rng_states()
        self._mode = _ModuleMode()
        self.journal = Journal(trainer, model)
        self.checkpoints = Checkpoints(trainer, self.reporter)

    def join(self, driver: Trainer) -> None:
        """Sets the trial up as Trainer.fit would, up to the optimizer."""
        trainer = self.trainer
        trainer.state = driver.state
        trainer.fit_loop = driver.fit_loop
        self.model.trainer = trainer
        trainer.strategy.connect(self.model)
        self.checkpoints.connect()
        trainer._callback_connector._attach_model_callbacks()
        data_given = driver.fit_loop._data_source.instance is not driver.lightning_module
        reason = unsupported(trainer, data_given)
        if reason is not None:
            raise CannotFuseError(reason, by_numbers=False)
        with self._own_random_numbers():
            call._call_lightning_module_hook(trainer, "prepare_data")
            # The driver has set up the data, once for all.
            call_setup(trainer)
            call._call_configure_model(trainer)
            trainer.datamodule = driver.datamodule  # type: ignore[attr-defined]
            # Before weights are read back, which would not be as fine.
            trainer.precision_plugin.convert_module(self.model)
            trainer._data_connector._datahook_selector = _DataHookSelector(self.model, driver.datamodule)  # type: ignore[attr-defined]
            if self._checkpoint is not None:
                trainer._checkpoint_connector._restore_modules_and_callbacks(self._checkpoint.path)
        trainer._logger_connector.reset_metrics()

    def begin(self) -> None:
        """The hooks between the making of the optimizer and the training."""
        if self._has("on_fit_start"):
            with self._own_random_numbers():
                self.hook("on_fit_start")
        tell_loggers(self.attempt, self.trainer, self.model)
        _log_hyperparams(self.trainer)
        if self._checkpoint is not None:
            self.trainer._checkpoint_connector.restore_training_state()
            self.trainer._checkpoint_connector.resume_end()

    def setup_optimizer(self) -> None:
        """Has ``configure_optimizers`` make the optimizer and schedulers, once the parameters are where they will stay."""
        with self._own_random_numbers():
            self.trainer.strategy.setup_optimizers(self.trainer)

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        """Has the generators be the trial's; to be used within `kept_rngs`, once for all trials."""
        set_rng_states(self._rng)
        try:
            yield
        finally:
            self._rng = rng_states()

    @property
    def babysitters(self) -> list[Babysitter]:
        """Of its callbacks."""
        return [callback for callback in self.callbacks if type(callback) is Babysitter]

    @property
    def changes_lr(self) -> bool:
        """Whether lr or momentum may change from batch to batch by others than a babysitter."""
        return self.watched or any(config.interval == "step" for config in self.trainer.lr_scheduler_configs)

    @property
    def follows_steps(self) -> bool:
        """Whether anything looks between batches at what a step has logged."""
        plateaus = any(config.interval == "step" and config.reduce_on_plateau for config in self.trainer.lr_scheduler_configs)
        return plateaus or self.watched

    @property
    def watched(self) -> bool:
        """Whether code of the user's runs between batches."""
        return runs_users(self.trainer, BATCH_HOOKS)

    @cached_property
    def hooked(self) -> bool:
        """Whether code of the user's runs between the epochs' steps, which may change its model."""
        return runs_users_between_steps(self.trainer)

    @property
    def callbacks(self) -> list[Callback]:
        """Of its Trainer."""
        return self.trainer.callbacks  # type: ignore[attr-defined, no-any-return]

    def guarded(self, do: Callable[..., Any], *args: Any) -> None:
        """Does something of this trial's. If that fails, the trial has failed; the others go on."""
        if self.error is None:
            try:
                do(*args)
            except (CannotFuseError, SIGTERMException):
                raise
            except (Exception, SystemExit) as error:
                if disk_error(error) is not None:
                    raise
                self.error = error

    def hook(self, name: str) -> None:
        """Calls a hook of the trial's callbacks, then of its model."""
        if self._has(name):
            with self.journal.open():
                self._call(name)

    def _call(self, hook: str) -> None:
        call_callbacks(self.trainer, hook)
        call_model(self.trainer, hook)

    def _has(self, hook: str) -> bool:
        return own_hook(self.model, hook) is not None or any(own_hook(each, hook) for each in self.callbacks)

    def evaluate(self) -> None:
        """Switches the model to evaluation."""
        self._mode.capture(self.model)
        self.model.eval()

    def train_again(self) -> None:
        """Switches it back: what was frozen in evaluation stays so."""
        self._mode.restore(self.model)

    def end_training_epoch(self, logs: list[Entry], row: int) -> None:
        """What Lightning does at the end of an epoch, in its order."""
        trainer, loop = self.trainer, self.trainer.fit_loop.epoch_loop
        with self.journal.open() as results:
            self.journal.show_step(logs, row)
            self.journal.replay("training_step", logs, row, results)
            call_callbacks(trainer, "on_train_epoch_end", monitoring=False)
            call_model(trainer, "on_train_epoch_end")
            call_callbacks(trainer, "on_train_epoch_end", monitoring=True)
            logged = self.journal.show_epoch(results)
            self.step_schedulers("epoch", plateaus=True)
            self.reporter.plateaus_have_stepped()
            loop._batches_that_stepped -= 1
            self.journal.log_step(logged)
            loop._batches_that_stepped += 1
            self.journal.end_epoch(results)

    def end_validation_epoch(self, logs: list[Entry], row: int) -> None:
        """What Lightning does at the end of a validation, before ``on_validation_end``."""
        sanity_checking = self.trainer.sanity_checking
        # Steps that log nothing leave the mark of the last training batch.
        self.trainer._logger_connector.epoch_end_reached()
        with self.journal.open() as results:
            logged: dict[str, Any] = {}
            for index in dict.fromkeys(entry.dataloader_idx for entry in logs):
                results.dataloader_idx = index
                self.journal.replay("validation_step", [entry for entry in logs if entry.dataloader_idx == index], row, results)
                # What is of no loader comes with what the hook logs.
                if index is not None and not sanity_checking:
                    logged |= self.journal.show_epoch(results)
            results.dataloader_idx = None
            self._call("on_validation_epoch_end")
            logged |= self.journal.show_epoch(results)
            if not sanity_checking:
                self.journal.log_step(logged)

    def end_validation(self) -> None:
        """The rest."""
        with self.journal.open() as results:
            self._call("on_validation_end")
            self.journal.end_epoch(results)

    def end(self) -> None:
        """What Lightning does after the last epoch."""
        self.trainer.datamodule = None  # type: ignore[attr-defined]
        if self.error is None:
            self.hook("on_train_end")
            self.hook("on_fit_end")
            call._call_teardown_hook(self.trainer)
            self.reporter.check_monitor(self.reporter.metrics)

    def interrupt(self, exception: BaseException) -> None:
        """What Lightning does where a fit ends by an exception."""
        self.checkpoints.write_best()
        with suppress(Exception):
            call._call_callback_hooks(self.trainer, "on_exception", exception)
        for logger in self.trainer.loggers:
            logger.finalize("failed")

    def step_schedulers(self, interval: str, plateaus: bool) -> None:
        """Steps the schedulers that are due."""
        if not any(
            config.interval == interval and config.reduce_on_plateau == plateaus for config in self.trainer.lr_scheduler_configs
        ):
            return
        loop: _TrainingEpochLoop = copy.copy(self.trainer.fit_loop.epoch_loop)
        loop.trainer = self.trainer
        loop.update_lr_schedulers(interval, update_plateau_schedulers=plateaus)

    def standing(self) -> Trial:
        """The trial as it would end now, without what it has written."""
        outcome = outcome_of(self.reporter) if self.error is None else Outcome("failed")
        return replace(self.attempt.trial, state=outcome.state, value=outcome.value)
