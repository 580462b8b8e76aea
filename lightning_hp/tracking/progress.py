"""The terminal: a bar for the search, one for the running trial's epochs, the best so far. Elsewhere, a line per trial."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lightning_hp.trial import EpochEnded, Event, Finished, Mode, Started, Trial, is_better


class Progress:
    """Shows a search while it runs.

    Args:
        trials: how many there will be; None if that is open.
        monitor: the objective's name.
        mode: ``min`` or ``max``.
        finished: the trials that are finished already.
        enabled: show anything at all.
        console: where to; standard error by default, so that output can be piped.
    """

    def __init__(
        self,
        trials: int | None,
        monitor: str,
        mode: Mode,
        finished: Iterable[Trial],
        enabled: bool = True,
        console: Console | None = None,
    ) -> None:
        done = list(finished)
        self._monitor = monitor
        self._mode: Mode = mode
        self._trials = trials
        self._done = len(done)
        self._best: tuple[int, float] | None = None
        self._enabled = enabled
        self._console = console or Console(file=sys.stderr)
        for trial in done:
            self._note(trial.number, trial.value if trial.state == "complete" else None)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (enabled and self._console.is_terminal),
        )
        self._search = self._bars.add_task(self._headline(), total=trials, completed=self._done)
        self._epochs = self._bars.add_task("", visible=False)

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.update(self._epochs, visible=False)
        self._bars.stop()

    def record(self, event: Event) -> None:
        if isinstance(event, Started):
            self._bars.reset(self._epochs, description=f"trial {event.trial.number}", total=event.max_epochs, visible=True)
        elif isinstance(event, EpochEnded):
            shown = event.metrics.get(self._monitor)
            value = f" {self._monitor} {shown:.4g}" if shown is not None else ""
            self._bars.update(self._epochs, description=f"trial {event.number}{value}", completed=event.epoch + 1)
        elif isinstance(event, Finished):
            self._finish(event)

    def _finish(self, event: Finished) -> None:
        outcome = event.outcome
        self._done += 1
        self._note(event.number, outcome.value if outcome.state == "complete" else None)
        self._bars.update(self._search, description=self._headline(), completed=self._done)
        if not self._enabled:
            return
        of = f"/{self._trials}" if self._trials is not None else ""
        told = f"{self._monitor} {outcome.value:.4g}" if outcome.value is not None else outcome.reason
        if not self._console.is_terminal:
            line = f"[{self._done}{of}] trial {event.number}: {outcome.state}, {told}; {self._headline()}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        elif outcome.state != "complete":
            self._bars.console.print(f"trial {event.number} {outcome.state}: {told}", markup=False, highlight=False)

    def _note(self, number: int, value: float | None) -> None:
        if value is not None and is_better(value, self._best[1] if self._best else None, self._mode):
            self._best = (number, value)

    def _headline(self) -> str:
        if self._best is None:
            return "search"
        return f"best {self._monitor} {self._best[1]:.4g} (trial {self._best[0]})"
