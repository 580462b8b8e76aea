"""A member's checkpoints: what it wants to have written waits until it is time, for one file of several trials perhaps."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from lightning_hp.fit.checkpoints import BEST, LAST, PREVIOUS, warn_if_refused, whole
from lightning_hp.fit.fused.hooks import runs_users, runs_users_between_steps
from lightning_hp.fit.reporter import Reporter
from lightning_hp.fit.together import Part, cut_out
from lightning_hp.fit.trainer import TrialTrainer


class Checkpoints:
    """Stands in for a Trainer's way to save: the reporter's two files wait, those of others are written at once.

    Args:
        trainer: the trial's.
        reporter: of the trial, which says where they go.

    Attributes:
        best_is_due: whether the weights that the trial has now are to be kept as the best.
        refresh: gives the trial's own model and optimizer what steps have made of what is held for all.
    """

    def __init__(self, trainer: TrialTrainer, reporter: Reporter) -> None:
        self._trainer = trainer
        self._reporter = reporter
        self.best_is_due = False
        self.refresh: Callable[[], None] = lambda: None
        self._best: dict[str, Any] | None = None
        self._best_weights: Callable[[], dict[str, Any]] | None = None
        self._last_is_due = False
        self._shares_a_file = False
        trainer.save_checkpoint = self._save  # type: ignore[method-assign]

    def connect(self) -> None:
        """Has what is written stand for itself, without the rows of others."""
        strategy = self._trainer.strategy
        write = strategy.save_checkpoint
        strategy.save_checkpoint = lambda checkpoint, *args, **options: write(whole(checkpoint), *args, **options)  # type: ignore[method-assign]

    def keep_best(self, weights: Callable[[], dict[str, Any]]) -> None:
        """Tells where the weights of the best epoch are from now on."""
        self._best_weights, self.best_is_due = weights, False

    def drop(self) -> None:
        """Gives them up."""
        self._best, self._last_is_due, self._reporter.folder = None, False, None
        self.best_is_due = False

    def write_best(self) -> None:
        """Writes the weights of the best epoch, if there are newer ones than on the disk."""
        best = self._best_checkpoint()
        if best is not None and self._reporter.best_path is not None:
            self._trainer.strategy.checkpoint_io.save_checkpoint(best, self._reporter.best_path)
            self._best, self.best_is_due = None, False

    def write_last(self) -> None:
        """Writes all that the trial needs to go on by itself, as of its last epoch."""
        # First, since the other says that it is there.
        self.write_best()
        path = self._reporter.last_path
        if self._last_is_due and path is not None:
            self.refresh()
            Trainer.save_checkpoint(self._trainer, path)
            self._last_is_due = False
            if self._shares_a_file:
                path.with_name(PREVIOUS).unlink(missing_ok=True)

    def part(self) -> Part | None:
        """The same as a part of a file of several trials; None if there is nothing to write."""
        folder = self._reporter.folder
        if not self._last_is_due or folder is None:
            return None
        objects = self._trainer.objects
        last = objects.to_go_on(self._trainer._checkpoint_connector.dump_checkpoint(weights_only=False))
        if not self._shares_a_file:
            self._shares_a_file = True
            warn_if_refused(last)
        best = self._best_checkpoint()
        return Part(folder, self._reporter.identity, last, objects.of_model(best) if best is not None else None)

    def leave_file(self) -> None:
        """Has checkpoints of the trial's own in the place of those in a file of several trials."""
        if self._shares_a_file and self._reporter.folder is not None:
            cut_out(self._reporter.folder, self._reporter.identity)

    def _save(self, filepath: Any, weights_only: bool | None = None, storage_options: Any = None) -> None:
        path = filepath if isinstance(filepath, Path) else Path(filepath)
        if path.name not in (BEST, LAST) or path.parent != self._reporter.folder:
            self.refresh()
            Trainer.save_checkpoint(self._trainer, filepath, weights_only, storage_options)
        elif path.name == BEST:
            self._save_best()
        else:
            self._last_is_due = True

    def _save_best(self) -> None:
        connector = self._trainer._checkpoint_connector
        if self._hooked:
            # Code of the user's may change weights or checkpoint; Lightning asks callbacks only where it is more than weights.
            checkpoint = connector.dump_checkpoint(weights_only=not runs_users(self._trainer, ["on_save_checkpoint"]))
            self._best, self._best_weights = whole(self._trainer.objects.kept(checkpoint)), None
            self.best_is_due = False
            return
        # The weights are soon copied, of all trials at once.
        connector._get_lightning_module_state_dict = dict  # type: ignore[method-assign]
        try:
            self._best = connector.dump_checkpoint(weights_only=True)
        finally:
            del connector._get_lightning_module_state_dict
        self._best_weights, self.best_is_due = self._trainer.lightning_module.state_dict, True

    @cached_property
    def _hooked(self) -> bool:
        return runs_users_between_steps(self._trainer)

    def _best_checkpoint(self) -> dict[str, Any] | None:
        """That of the best epoch, unless it is on the disk."""
        if self._best is None or self._best_weights is None:
            return self._best
        return whole(self._best | {"state_dict": self._best_weights()})
