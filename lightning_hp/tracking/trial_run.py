"""The TensorBoard run of one trial: Lightning's own logger, in the trial's folder, as one session of the HParams table."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.writer import SummaryWriter

from lightning_hp.errors import storage_errors
from lightning_hp.space import Hparams, Space
from lightning_hp.tracking.event_file import EventWriter
from lightning_hp.tracking.hparams import add_summary, session, session_end
from lightning_hp.trial import Event, Finished, Outcome, trial_folder

OBJECTIVE = "objective"


class TrialLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger for one trial.

    Lightning's own writes an HParams experiment into every run that has hyperparameters, of which TensorBoard reads the
    first it meets; the one of the study is in its search run, and a trial only adds its session to that.

    Args:
        folder: the trial's; its name becomes the run's.
        resumed_step: where a fit goes on that was interrupted: TensorBoard drops what the curves had from that step on.
    """

    def __init__(self, folder: Path, resumed_step: int | None = None) -> None:
        super().__init__(save_dir=folder, name="", version="", purge_step=resumed_step)
        self._saved = False

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """What writes the event file, made when it is first asked for."""
        if self._experiment is None:
            self._experiment = EventWriter(self.log_dir, **self._kwargs)
        return self._experiment

    @rank_zero_only
    def log_hyperparams(
        self,
        params: dict[str, Any] | Namespace,
        metrics: dict[str, Any] | None = None,
        step: int | None = None,
    ) -> None:
        """Keeps the module's hyperparameters for hparams.yaml, and writes its metrics as curves."""
        self.hparams.update(vars(params) if isinstance(params, Namespace) else params)
        if metrics:
            self.log_metrics(metrics, step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Writes all numbers as one event, where Lightning writes one for each, which takes several times as long."""
        numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
        if numbers:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
            add_summary(self.experiment, Summary(value=values), step)
        if len(numbers) < len(metrics):
            super().log_metrics({name: value for name, value in metrics.items() if name not in numbers}, step)

    @rank_zero_only
    def save(self) -> None:
        """Writes hparams.yaml once, where Lightning looks for it after every log call."""
        if not self._saved:
            super().save()
            self._saved = True

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Leaves the file open: `end` has the last word."""
        self.save()

    @rank_zero_only
    def begin(self, space: Space, hparams: Hparams) -> None:
        """Opens the trial's session in the HParams table."""
        add_summary(self.experiment, session(space, hparams, name=Path(self.save_dir).name))

    @rank_zero_only
    def pause(self) -> None:
        """Closes the file and leaves the session open, since it may go on."""
        self.experiment.close()

    @rank_zero_only
    def end(self, outcome: Outcome) -> None:
        """Closes the session with the true objective and status, and the file."""
        _end(self.experiment, outcome)
        self.experiment.close()


def end_runs(root: Path, event: Event) -> None:
    """Ends the run of a trial that could not do so itself: its process has died, or it was pruned while it waited."""
    if not isinstance(event, Finished):
        return
    outcome = event.outcome
    if outcome.state == "pruned" or (outcome.state == "failed" and outcome.traceback is None):
        folder = trial_folder(root, event.number)
        with storage_errors(folder):
            writer = EventWriter(folder)
            _end(writer, outcome)
            writer.close()


def _end(writer: SummaryWriter, outcome: Outcome) -> None:
    if outcome.value is not None:
        writer.add_scalar(OBJECTIVE, outcome.value, outcome.epochs)
    add_summary(writer, session_end(success=outcome.state in ("complete", "pruned")))
