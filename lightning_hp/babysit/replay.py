"""Repeats what was done to a babysat fit, in a fit that nobody watches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from lightning_hp.babysit import hands, log
from lightning_hp.babysit.actions import Knobs, Rollback, Stop
from lightning_hp.babysit.hands import Hands
from lightning_hp.babysit.log import Record
from lightning_hp.babysit.logbook import Logbook, made
from lightning_hp.errors import ConfigError


class Replay(Callback):
    """Carries out the actions in a babysit.jsonl, before the batches that it names, and decides nothing.

    With the same model, data, seed and Trainer the fit is the one that was logged, on a CPU to the last bit. It writes a log
    of its own, unless that would be in the place of the one that it follows.

    Args:
        path: a babysit.jsonl, or the folder that it lies in.

    Attributes:
        diverged: why the fit has ended as diverged, or None.

    Raises:
        ConfigError: there is no such file, or it is broken or empty; in the fit, if a place in the log is never reached or
            lies elsewhere in this fit, if the optimizers have other parameter groups, or a snapshot was never taken.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = log.found(path)
        self._records = [record for record in log.read(self.path) if record.actions or record.event == "state"]
        if not self._records:
            raise ConfigError(f"{self.path} has no records to replay: the babysitter that wrote it saw nothing of its fit")
        self._start_afresh(Path())

    def _start_afresh(self, folder: Path, rank: int = 0) -> None:
        self.diverged: str | None = None
        file = folder / log.FILE
        self._logbook = Logbook(None if file.exists() and file.samefile(self.path) else file)
        # One for each babysitter of the fit: each has its own snapshots.
        self._hands: dict[str, Hands] = {str(record.detail.get("by")): Hands(folder, rank) for record in self._records}
        # The record that comes next; None before the fit.
        self._next: int | None = None
        self._differs = False
        # A metric of the whole epoch has in it what was gone back from.
        self._went_back = False

    @property
    def stopped(self) -> bool:
        """Whether it has stopped the fit."""
        return any(one.stopped for one in self._hands.values())

    @property
    def answers(self) -> bool:
        """Whether values that are not finite need not end the fit: a rollback is to come, or there was one in this epoch."""
        return self._went_back or any(
            isinstance(action, Rollback) for record in self._records[self._next or 0 :] for action in record.actions
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "next": self._next,
            "hands": {by: one.state_dict() for by, one in self._hands.items()},
            "logbook": self._logbook.state_dict(),
            "diverged": self.diverged,
            "went_back": self._went_back,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._next, self.diverged = state_dict["next"], state_dict["diverged"]
        self._went_back = state_dict["went_back"]
        self._logbook.load_state_dict(state_dict["logbook"])
        for by, one in self._hands.items():
            if by in state_dict["hands"]:
                one.load_state_dict(state_dict["hands"][by])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == TrainerFn.FITTING:
            self._start_afresh(Path(trainer.log_dir or trainer.default_root_dir), trainer.global_rank)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._next is None:
            # What comes before a checkpoint of another callback's is done.
            self._next = sum(record.batch <= made(trainer) for record in self._records)
        self._check_length(trainer)
        hands.resume(trainer)
        self._logbook.begin(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._went_back = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        while self._coming is not None and self._coming.batch <= made(trainer):
            record = self._coming
            self._check_place(trainer, record)
            self._repeat(trainer, record)
            self._next = (self._next or 0) + 1

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for one in self._hands.values():
            one.after_backward(trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._logbook.before_step(trainer, optimizer)
        for one in self._hands.values():
            one.before_step(trainer, optimizer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._logbook.end(trainer)
        left = self._left()
        if left and not self.stopped:
            message = f"{_ended(left)}, which is never reached: this fit ended after batch {made(trainer) + 1}"
            # Somebody wanted it to end.
            if trainer.should_stop:
                rank_zero_warn(f"Replay of {self.path}: {message}")
            else:
                raise ConfigError(f"Replay of {self.path}: {message}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._logbook.flush()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._logbook.flush()

    @property
    def _coming(self) -> Record | None:
        return self._records[self._next] if self._next is not None and self._next < len(self._records) else None

    def _left(self) -> list[Record]:
        return [record for record in self._records[self._next or 0 :] if record.actions]

    def _repeat(self, trainer: Trainer, record: Record) -> None:
        if record.event == "state":
            self._write_state(trainer, record)
            return
        before = hands.read(trainer)
        self._compare(record, before)
        own = self._hands[str(record.detail.get("by"))]
        for action in record.actions:
            if not own.carry_out(trainer, action) and isinstance(action, Rollback):
                raise ConfigError(
                    f"{self._at(record)}: there is no snapshot {action.name!r} to go back to. A fit that goes on "
                    "from a checkpoint has only those that a replay has taken before it"
                )
            self._went_back = self._went_back or isinstance(action, Rollback)
            if isinstance(action, Stop) and action.diverged:
                self.diverged = record.reason
        detail = {key: value for key, value in record.detail.items() if key != "actions"}
        self._logbook.done(trainer, record.event, record.reason, record.actions, before, hands.read(trainer), **detail)

    def _write_state(self, trainer: Trainer, record: Record) -> None:
        value = trainer.callback_metrics.get(str(record.detail.get("monitor")))
        if value is not None:
            self._logbook.check(record.detail["monitor"], float(value))
            self._logbook.before_batch(trainer)

    def _check_length(self, trainer: Trainer) -> None:
        """Raises if it is known by now that this fit is too short."""
        left = self._left()
        epochs = math.inf if trainer.max_epochs in (None, -1) else float(trainer.max_epochs or 0)
        batches = epochs * trainer.num_training_batches
        steps = math.inf if trainer.max_steps == -1 else trainer.max_steps
        if left and (left[-1].batch >= batches or left[-1].step >= steps):
            end = f"batch {batches:g}" if left[-1].batch >= batches else f"step {steps:g}"
            raise ConfigError(f"Replay of {self.path}: {_ended(left)}, which this fit never reaches: it ends after {end}")

    def _check_place(self, trainer: Trainer, record: Record) -> None:
        """Raises if this fit stands elsewhere before the record's batch, or has other parameter groups."""
        if (record.epoch, record.step) != (trainer.current_epoch, trainer.global_step):
            here = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
            raise ConfigError(
                f"{self._at(record)}, but in this fit batch {record.batch} comes in {here}. A replay needs the epochs, batches "
                "and accumulation of the fit that was logged"
            )
        own, logged = len(hands.read(trainer)), len(record.before)
        if own != logged:
            groups = "1 parameter group" if logged == 1 else f"{logged} parameter groups"
            raise ConfigError(f"{self._at(record)} with {groups}, and this fit has {own}")

    def _compare(self, record: Record, now: Sequence[Knobs]) -> None:
        if self._differs or all(_close(here, there) for here, there in zip(now, record.before, strict=True)):
            return
        self._differs = True
        rank_zero_warn(
            f"{self._at(record)} with {record.before}, and this fit has {list(now)}: it is not the one that was logged"
        )

    def _at(self, record: Record) -> str:
        place = f"batch {record.batch}, in epoch {record.epoch}, step {record.step}"
        return f"Replay of {self.path}: the log has a {record.event} before {place}"


def _close(here: Knobs, there: Knobs) -> bool:
    if (here.momentum is None) != (there.momentum is None):
        return False
    # float32 may have rounded what was read from a tensor.
    same = math.isclose(here.lr, there.lr, rel_tol=1e-6)
    return same and math.isclose(here.momentum or 0.0, there.momentum or 0.0, rel_tol=1e-6)


def _ended(left: Sequence[Record]) -> str:
    count = "1 place is left" if len(left) == 1 else f"{len(left)} places are left"
    return f"{count} in the log, the last before batch {left[-1].batch} (step {left[-1].step})"
