"""The TensorBoard run of the whole search: objective, best so far, the one HParams experiment, custom scalars."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard.writer import SummaryWriter

from lightning_hp.errors import storage_errors
from lightning_hp.space import Space
from lightning_hp.tracking.hparams import add_summary, experiment
from lightning_hp.tracking.images import ENDING, drop_pictures
from lightning_hp.tracking.layout import BEST_CURVE, OBJECTIVE_CURVE, layout
from lightning_hp.tracking.trial_run import OBJECTIVE
from lightning_hp.trial import Event, Finished, Mode, State, Trial, is_better

# A flush costs more than the event it is for; seconds.
FLUSH_INTERVAL = 1.0


class SearchRun:
    """Writes ROOT/search.

    The run is made anew from the study each time a search starts, so that it is right whatever happened before. Pictures stay
    until a trial ends that they do not show.

    Args:
        folder: where to.
        space: for the HParams experiment.
        monitor: shown as the objective's name.
        mode: ``min`` or ``max``.
        finished: the trials that are finished already.

    Raises:
        StorageError: here and in every method, the disk takes no data.
    """

    def __init__(self, folder: Path, space: Space, monitor: str, mode: Mode, finished: Iterable[Trial]) -> None:
        self._folder = folder
        self._mode: Mode = mode
        self._best: float | None = None
        self._flushed = -FLUSH_INTERVAL
        self._pictured = True
        with storage_errors(folder):
            for stale in folder.glob("events.out.tfevents.*"):
                if stale.suffix != ENDING:
                    stale.unlink()
            self._writer = SummaryWriter(folder)
            add_summary(self._writer, experiment(space, OBJECTIVE, monitor))
            self._writer.add_custom_scalars(layout(monitor))
            for trial in finished:
                self._add(trial.number, trial.value, trial.state)
            self._writer.flush()

    def record(self, event: Event) -> None:
        if isinstance(event, Finished):
            with storage_errors(self._folder):
                if self._pictured:
                    drop_pictures(self._folder)
                    self._pictured = False
                self._add(event.number, event.outcome.value, event.outcome.state)
                if time.monotonic() - self._flushed >= FLUSH_INTERVAL:
                    self._flushed = time.monotonic()
                    self._writer.flush()

    def __enter__(self) -> SearchRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if value is None:
            with storage_errors(self._folder):
                self._writer.close()
            return
        # What has ended the search is to be told and not this; the next search makes the run anew.
        with suppress(OSError):
            self._writer.close()

    def _add(self, number: int, value: float | None, state: State) -> None:
        if value is None:
            return
        if state == "complete" and is_better(value, self._best, self._mode):
            self._best = value
        self._writer.add_scalar(OBJECTIVE_CURVE, value, number)
        # As in the leaderboard, what has not trained to its end is not the best.
        if self._best is not None:
            self._writer.add_scalar(BEST_CURVE, self._best, number)
