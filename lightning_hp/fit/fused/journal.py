"""What one trial of a fused job logs: where it goes, when, and under which names, as Lightning has it for a fit by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection

from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.logs import Entry, EpochMetric, EpochValue
from lightning_hp.fit.trainer import TrialTrainer


class Journal:
    """Keeps a trial's results apart from those of the loop that it shares.

    Args:
        trainer: the trial's.
        model: the trial's.
    """

    def __init__(self, trainer: TrialTrainer, model: LightningModule) -> None:
        self._trainer = trainer
        self._model = model
        self._results: dict[bool, _ResultCollection] = {}

    @contextmanager
    def open(self) -> Iterator[_ResultCollection]:
        """Has ``self.log`` of the model, in the loop that runs now, go to this trial's own results."""
        loop = self._trainer.logging_loop
        training = loop._results.training
        if training not in self._results:
            self._results[training] = _ResultCollection(training=training)
        own = self._results[training]
        others, loop._results = loop._results, own
        try:
            yield own
        finally:
            loop._results = others

    def in_batch(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        """A hook that runs once a batch, in which the model may log."""

        def with_log(*args: Any) -> None:
            batch, batch_idx, *loader = args[1:] if name.endswith("_end") else args
            with self.open() as results:
                results.batch, results.batch_size = batch, None
                results.dataloader_idx = loader[0] if loader else None
                self._trainer._logger_connector._first_loop_iter = batch_idx == 0
                self._model._current_fx_name = name
                try:
                    answer = hook(*args)
                finally:
                    self._model._current_fx_name = None
                    results.batch = None
            if answer == -1 and name == "on_train_batch_start":
                raise CannotFuseError("on_train_batch_start skips batches")

        return with_log

    def of_batch(self) -> dict[str, Any]:
        """What the hooks of this batch have logged by step."""
        if not self._results.get(self._trainer.logging_loop._results.training):
            return {}
        connector = self._trainer._logger_connector
        with self.open() as results:
            metrics = results.metrics(on_step=True)
        connector._callback_metrics.update(metrics["callback"])
        connector._progress_bar_metrics.update(metrics["pbar"])
        return dict(metrics["log"])

    def show_step(self, logs: Sequence[Entry], row: int) -> None:
        """Shows callbacks what the last training step has logged."""
        connector = self._trainer._logger_connector
        for entry in logs:
            if not entry.stepped:
                continue
            assert entry.last is not None
            value = entry.last[row]
            connector._callback_metrics.update({entry.name: value, entry.step_name: value})
            if entry.options.get("logger", True):
                connector._logged_metrics[entry.step_name] = value
            if entry.options.get("prog_bar"):
                connector._progress_bar_metrics[entry.step_name] = entry.numbers()[row]

    def log_step(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Sends the loggers what a step has logged."""
        self._trainer._logger_connector.log_metrics(dict(values), step)

    def replay(self, fx: str, logs: Sequence[Entry], row: int, results: _ResultCollection) -> None:
        """Logs what this trial's row has logged in the steps of an epoch, once for all steps."""
        connector = self._trainer._logger_connector
        # With another hook's name Lightning would take them for values of the epoch before.
        connector._first_loop_iter, connector._current_fx = None, fx
        for entry in logs:
            if entry.metric is not None or entry.on_epoch:
                entry.replay(fx, row, self._model, results)

    def settle(self, logs: Sequence[Entry], row: int) -> None:
        """Has this trial's metric objects computed as they stand."""
        for entry in logs:
            entry.settle(row, self._model)

    def show_epoch(self, results: _ResultCollection) -> dict[str, Any]:
        """Shows callbacks what has been logged of an epoch.

        Returns:
            What of it is for the loggers.
        """
        # Lightning's own way asks the Trainer for the results, several times, which takes longer than all else.
        connector = self._trainer._logger_connector
        metrics = results.metrics(on_step=False)
        connector._progress_bar_metrics.update(metrics["pbar"])
        connector._callback_metrics.update(metrics["callback"])
        connector._logged_metrics.update(metrics["log"])
        connector._current_fx = None
        logged: dict[str, Any] = metrics["log"]
        return logged

    def end_epoch(self, results: _ResultCollection) -> None:
        """Has the results begin anew."""
        results.reset()
        # Those of the steps are put there anew, and whoever asks an empty collection has its answer at once.
        for key in [key for key, value in results.items() if isinstance(value, (EpochValue, EpochMetric))]:
            del results[key]
        connector = self._trainer._logger_connector
        connector._first_loop_iter, connector._current_fx = None, None
