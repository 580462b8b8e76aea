"""Passes the hooks of a fused fit on to its members, in Lightning's order, and lets those go that have stopped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lightning_hp.fit.fused.batch_hooks import BatchHooks
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.hooks import runs_users
from lightning_hp.fit.fused.logs import Entry
from lightning_hp.fit.fused.member import Member
from lightning_hp.fit.fused.module import FusedModule
from lightning_hp.fit.fused.saving import Saving, same_progress
from lightning_hp.fit.reporter import at_limit
from lightning_hp.fit.rng import kept_rngs
from lightning_hp.fit.together import Part, write_together
from lightning_hp.study.keep import Keep

# Where code of the user's may read what the fit has found.
_AT_THE_END = ("on_train_end", "on_fit_end", "teardown")


class Relay(Callback):
    """The only callback of a fused fit besides its seeding and its feed.

    Args:
        module: what is trained; its members are told.
        finished: called with each member when its trial is over, by whatever reason, and whether another comes next that is.
        keep: how many trials of the search keep their checkpoints; None for all.
    """

    def __init__(self, module: FusedModule, finished: Callable[[Member, bool], None], keep: int | None = None) -> None:
        self.module = module
        module.let_failed_go = self._let_failed_go
        self._keep = keep
        self._mode = module.members[0].reporter.mode
        self.saving = Saving(len(module.members))
        self._finished = finished
        # Of those that train now.
        self._batch_hooks = BatchHooks([])
        self._evaluated: Sequence[Member] = ()
        self._least: tuple[int, int] = (0, 0)
        self._stopping = False
        self._loggers_told = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._least = (trainer.fit_loop.min_epochs or 0, trainer.fit_loop.epoch_loop.min_steps or 0)
        # Members stop by themselves; the loop ends with the last.
        trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None
        for member in self.module.members:
            member.reporter.least = self._least
        with kept_rngs():
            self._each(lambda member: member.join(trainer))
        self._let_failed_go()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with kept_rngs():
            self._each(lambda member: member.begin())
        self._batch_hooks = BatchHooks(self.module.members)
        self.module.optimizer.collect()
        self.module.babysit()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._each(lambda member: member.hook("on_sanity_check_start"))

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._each(lambda member: member.hook("on_sanity_check_end"))
        self._each(lambda member: member.trainer._logger_connector.reset_metrics())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._each(lambda member: member.hook("on_train_start"))
        # What was interrupted may have been about to stop.
        self._let_go(epoch_over=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._each(lambda member: member.hook("on_train_epoch_start"))
        self.module.logs["training_step"].clear()
        self.module.follow_hooks()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.module.babysitting.before_batch(batch, batch_idx)
        self._call("on_train_batch_start", lambda row: (batch, batch_idx), batch_idx)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._loggers_told:
            # Now that a step has been made, these trials can train as one, and so many at a time.
            self._loggers_told = True
            self._each(self._tell_loggers)
        for member in self._batch_hooks.scheduled:
            member.step_schedulers("step", plateaus=False)
            if trainer.fit_loop.epoch_loop._num_ready_batches_reached():
                member.step_schedulers("epoch", plateaus=False)
        entries = self.module.logs["training_step"].entries
        for row in self._batch_hooks.followed:
            self.module.members[row].journal.show_step(entries, row)
        self.module.babysitting.after_batch(self.module.losses, batch_idx, trainer.is_last_batch)
        # Where only the reporters look, which want numbers, the device is waited for once for all rows.
        losses = cache(lambda: self._losses if self._batch_hooks.watched else self._losses.cpu())
        returned = lambda row: (self._returned(row, losses()[row]), batch, batch_idx)  # noqa: E731
        self._call("on_train_batch_end", returned, batch_idx)
        self._log_step(entries, () if trainer.fit_loop._should_accumulate() else self._logging())
        loop = trainer.fit_loop
        assert loop._data_fetcher is not None
        if not loop.epoch_loop._should_check_val_fx(loop._data_fetcher):
            # Otherwise after the validation that comes now, which is also theirs.
            self._end_batch()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.module.babysitting.hand_on()
        members = self.module.members
        # Steps follow the first; the others are for the check, and for code of the user's.
        seen = self.module.hooked or not self.module.has_checked("validation_step")
        self._evaluated = members if seen else members[:1]
        for member in self._evaluated:
            member.evaluate()
        self.module.before_hooks()
        entries = self.module.logs["training_step"].entries
        for row, member in enumerate(self.module.members):
            member.journal.show_step(entries, row)
            member.reporter.pending = {entry.name for entry in entries}
        self._each(lambda member: member.hook("on_validation_start"))
        self.module.logs["validation_step"].clear()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._each(lambda member: member.hook("on_validation_epoch_start"))
        self.module.follow_hooks()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._settle(dataloader_idx)
        self._call("on_validation_batch_start", lambda row: (batch, batch_idx, *self._loader(dataloader_idx)))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        loader = self._loader(dataloader_idx)
        self._call("on_validation_batch_end", lambda row: (self._returned(row), batch, batch_idx, *loader))
        if not trainer.sanity_checking:
            entries = self.module.logs["validation_step"].entries
            step = trainer.fit_loop.epoch_loop.val_loop._seen_batches_per_dataloader[dataloader_idx]
            self._log_step([entry for entry in entries if entry.dataloader_idx in (None, *loader)], self._all, step)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.module.before_hooks()
        logs = self.module.logs["validation_step"].entries
        self.module.compute_metrics(logs)
        for row, member in enumerate(self.module.members):
            member.guarded(member.end_validation_epoch, logs, row)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with same_progress(self.module.members):
            self._each(lambda member: member.end_validation())
        self.module.reset_metrics()
        self.module.keep_best()
        for member in self._evaluated:
            member.train_again()
        self.module.follow_hooks()
        if not (self._stopping or trainer.sanity_checking):
            self._end_batch()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.module.before_hooks()
        logs = self.module.logs["training_step"].entries
        self.module.compute_metrics(logs)
        with same_progress(self.module.members):
            for row, member in enumerate(self.module.members):
                member.guarded(member.end_training_epoch, logs, row)
        self.module.reset_metrics()
        self.module.keep_best()
        self._let_go(epoch_over=True)
        last = at_limit(trainer)
        if self.saving.due and not last:
            with self.saving.timed():
                self._write_together()
        elif last:
            self._write(self.module.members)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave(list(range(len(self.module.members))))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, CannotFuseError):
            self._each(lambda member: member.interrupt(exception))

    @staticmethod
    def _tell_loggers(member: Member) -> None:
        with kept_rngs():
            member.tell_loggers()

    def _each(self, do: Callable[[Member], None]) -> None:
        for member in self.module.members:
            member.guarded(do, member)

    def _call(self, name: str, arguments: Callable[[int], tuple[Any, ...]], training_batch: int | None = None) -> None:
        """Calls a hook that runs once a batch, of those members that have it."""
        hooks = self._batch_hooks.at(name, training_batch)
        looking = bool(self._batch_hooks.watched and hooks)
        if looking:
            self.module.step.scatter()
        for hook in hooks:
            self.module.members[hook.row].guarded(hook.call, *arguments(hook.row))
        if looking:
            self.module.step.metrics.gather()
            self.module.follow_batch_hooks()

    def _settle(self, dataloader_idx: int) -> None:
        """Has metric objects computed whose validation loader is through: they may go on with the next one's batches."""
        entries = self.module.logs["validation_step"].unsettled(dataloader_idx)
        if entries:
            self.module.step.metrics.scatter()
            for row, member in enumerate(self.module.members):
                member.guarded(member.journal.settle, entries, row)

    def _loader(self, index: int) -> tuple[int, ...]:
        """A validation loader's number, where there are several."""
        return (index,) if len(self.module.trainer.num_val_batches) > 1 else ()

    @property
    def _losses(self) -> Tensor:
        """The losses of the last training step, each its share of an optimizer's step, as Lightning tells hooks."""
        parts = self.module.trainer.accumulate_grad_batches
        return self.module.losses if parts == 1 else self.module.losses / parts

    def _returned(self, row: int, loss: Tensor | None = None) -> Any:
        """What a member's last step returned, for those who look; of a training step in a mapping with the loss."""
        whole = self.module.returned if row in self._batch_hooks.watched else None
        own = apply_to_collection(whole, Tensor, lambda tensor: tensor[row].detach())
        if loss is None:
            return own
        return {**(own if isinstance(own, Mapping) else {}), "loss": loss}

    @property
    def _all(self) -> Collection[int]:
        return range(len(self.module.members))

    def _logging(self) -> Collection[int]:
        """The members whose loggers are told of this batch of training: all where it is time, else those about to stop."""
        if self.module.trainer._logger_connector.should_update_logs:
            return self._all
        return [row for row, member in enumerate(self.module.members) if member.trainer.should_stop]

    def _log_step(self, entries: list[Entry], rows: Collection[int], step: int | None = None) -> None:
        """Sends these members' loggers what a batch has logged."""
        logged = {e.step_name: e.numbers() for e in entries if e.stepped and e.options.get("logger", True)} if rows else {}
        for row, member in enumerate(self.module.members if rows or self._batch_hooks.watched else ()):
            own = member.journal.of_batch() if row in self._batch_hooks.watched else {}
            values = {name: each[row] for name, each in logged.items()} | own
            if row in rows:
                member.journal.log_step(values, step)

    def _end_batch(self) -> None:
        """What comes when a batch, and the validation after it if there is one, are over."""
        for member in self._batch_hooks.scheduled:
            member.guarded(member.step_schedulers, "step", True)
        self._let_go()

    def _let_failed_go(self) -> None:
        """Lets those go that have failed before there is anything to train."""
        failed = [member for member in self.module.members if member.error is not None]
        self.module.members = [member for member in self.module.members if member.error is None]
        self._finish(failed)
        if not self.module.members:
            raise CannotFuseError("all trials have failed before the training")

    def _let_go(self, epoch_over: bool = False) -> None:
        """Ends the trials that want to stop and may."""
        loop = self.module.trainer.fit_loop
        epochs = loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        may = epochs >= self._least[0] and loop.epoch_loop.global_step >= self._least[1]
        rows = [
            row
            for row, member in enumerate(self.module.members)
            if member.error is not None or (member.trainer.should_stop and (may or member.reporter.stopped))
        ]
        if not rows:
            return
        if epoch_over:
            self._leave(rows)
        else:
            self._validate_last(rows)
            with _after_batch(self.module.trainer):
                self._end_epoch(rows)
                self._leave(rows)
        if self.module.members:
            self._batch_hooks = BatchHooks(self.module.members)
        else:
            self.module.trainer.should_stop = True

    def _validate_last(self, rows: list[int]) -> None:
        """Validates some members once more, as Lightning does where a fit is stopped within an epoch."""
        trainer = self.module.trainer
        if not trainer.validating and trainer.enable_validation:
            self._stopping = True
            first_batch = trainer._logger_connector._first_loop_iter
            with self.module.only(rows):
                self._batch_hooks = BatchHooks(self.module.members)
                trainer.validating = True
                trainer.fit_loop.epoch_loop.val_loop.run()
                trainer.training = True
            trainer._logger_connector._first_loop_iter = first_batch
            self._stopping = False

    def _end_epoch(self, rows: list[int]) -> None:
        """Ends the epoch for some members."""
        logs = self.module.logs["training_step"].entries
        self.module.step.scatter()
        for row in rows:
            member = self.module.members[row]
            member.guarded(member.end_training_epoch, logs, row)
        self.module.keep_best()

    def _leave(self, rows: list[int]) -> None:
        leaving, gone = [self.module.members[row] for row in rows], set(rows)
        self._write(leaving)
        for member in leaving:
            member.guarded(member.end)
        self.module.keep([row for row in range(len(self.module.members)) if row not in gone])
        self._finish(leaving)

    def _write(self, leaving: Sequence[Member]) -> None:
        """Writes the checkpoints of trials that are over, but for those that would be deleted at once for better ones here."""
        self.module.optimizer.distribute()
        kept = Keep(self._keep, self._mode)
        # Those that have paused may have to go on.
        over = [member for member in leaving if not (member.reporter.paused or runs_users(member.trainer, _AT_THE_END))]
        lost = {number for member in over for number in kept.add(member.standing())}
        with same_progress(leaving):
            for member in leaving:
                own = member.checkpoints
                member.guarded(own.drop if member.attempt.trial.number in lost else own.write_last)

    def _write_together(self) -> None:
        """Writes one file of what all trials need to go on."""
        self.module.optimizer.distribute()
        parts: list[Part] = []
        with same_progress(self.module.members):
            self._each(lambda member: parts.extend(filter(None, [member.checkpoints.part()])))
        if parts:
            write_together(parts)

    def _finish(self, members: Sequence[Member]) -> None:
        for left, member in zip(reversed(range(len(members))), members, strict=True):
            if member.error is not None:
                # First, since there may be better weights by now.
                member.checkpoints.leave_file()
                member.interrupt(member.error)
            self._tell_loggers(member)
            self._finished(member, left > 0)


@contextmanager
def _after_batch(trainer: Trainer) -> Iterator[None]:
    """Has the loop stand as after the present batch, which counts among those that have stepped, and trains.

    By their number curves are numbered; what hooks have logged is among the results of the training.
    """
    loop, stage = trainer.fit_loop.epoch_loop, trainer.state.stage
    stepped = 0 if loop._should_accumulate() else 1
    loop._batches_that_stepped += stepped
    trainer.training = True
    try:
        yield
    finally:
        loop._batches_that_stepped -= stepped
        trainer.state.stage = stage
