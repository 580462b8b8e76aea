"""A bar for the search, one for each running trial's epochs, the best so far, in terminals and notebooks. Elsewhere, a line per
trial."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from lightning_hp.tracking.notebook import Place
from lightning_hp.trial import (
    EpochEnded,
    Event,
    Finished,
    Grouped,
    Mode,
    Paused,
    Printed,
    Retried,
    Started,
    Trial,
    Unfused,
    given_back_by,
    is_better,
)

MOST_BARS, MOST_NAMED = 8, 8
# The terminal echoes ^C where the bars end: on a full line it would wrap, and the bars would stand there twice.
_MARGIN = 4


class Progress:
    """Shows a search while it runs.

    Args:
        trials: how many there will be; None if that is open.
        monitor: the objective's name.
        mode: ``min`` or ``max``.
        finished: the trials that are finished already.
        enabled: show anything at all.
        console: where to; standard error by default, so that output can be piped. In a notebook, the output of the cell.
        lines: a line for each trial that ends, in a terminal too.
        elapsed: seconds that the search has run already.
        before: how many trials were finished when it began; all of ``finished`` by default.
    """

    def __init__(
        self,
        trials: int | None,
        monitor: str,
        mode: Mode,
        finished: Iterable[Trial],
        enabled: bool = True,
        console: Console | None = None,
        lines: bool = False,
        elapsed: float = 0.0,
        before: int | None = None,
    ) -> None:
        self._monitor = monitor
        self._mode: Mode = mode
        self._trials = trials
        self._best: tuple[int, float] | None = None
        self._enabled = enabled
        self._console = console or Console(file=sys.stderr)
        self._lines = lines or not (self._console.is_terminal or self._console.is_jupyter)
        # Those beyond were asked for in an earlier run.
        self._finished = [trial for trial in finished if trials is None or trial.number < trials]
        self._done = len(self._finished)
        for trial in self._finished:
            self._note(trial.number, trial.value if trial.state == "complete" else None)
        self._nothing_to_run = trials is not None and self._done >= trials
        self._bars = bars(self._console, shown=enabled and self._console.is_terminal and not self._nothing_to_run)
        self._place = Place() if enabled and self._console.is_jupyter and not self._nothing_to_run else None
        before = self._done if before is None else before
        self._search = self._bars.add_task(self._headline() or "search", total=trials, completed=self._done, before=before)
        self._bars.tasks[0].start_time = self._bars.get_time() - elapsed
        self._running: dict[int, int | None] = {}
        self._epochs: dict[int, TaskID] = {}
        self._told: set[str] = set()

    def __enter__(self) -> Progress:
        if self._nothing_to_run and self._enabled:
            failed = sum(trial.state == "failed" for trial in self._finished)
            of_them = f" ({failed} failed)" if failed else ""
            self._print(f"nothing to run: all {self._done} trials are finished{of_them}; ask for more with trials")
        self._bars.start()
        self._draw(at_once=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number in list(self._epochs):
            self._hide(number)
        self._bars.stop()
        self._draw(at_once=True)

    def record(self, event: Event) -> None:
        self._take(event)
        self._draw()

    def _draw(self, at_once: bool = False) -> None:
        """Shows the bars in a notebook, where nothing draws them from time to time."""
        if self._place is not None:
            self._place.show(self._bars.make_tasks_table(self._bars.tasks), at_once)

    def _take(self, event: Event) -> None:
        if isinstance(event, Started):
            self._running[event.trial.number] = event.max_epochs
            self._show(event.trial.number)
        elif isinstance(event, EpochEnded):
            self._show(event.number)
            if event.number in self._epochs:
                shown = event.metrics.get(self._monitor)
                value = f" {self._monitor} {shown:.4g}" if shown is not None else ""
                told = f"trial {event.number}{value}"
                self._bars.update(self._epochs[event.number], description=told, completed=event.epoch + 1)
        elif isinstance(event, Finished):
            self._finish(event)
        elif isinstance(event, Paused):
            self._hide(event.number)
        elif isinstance(event, Retried):
            self._hide(event.number)
            self.tell(f"trial {event.number} is tried again: {event.reason}")
        elif isinstance(event, (Grouped, Unfused)):
            for number in given_back_by(event):
                self._hide(number)
            if isinstance(event, Unfused):
                self._tell_unfused(event)
        elif isinstance(event, Printed) and not (event.once and event.line in self._told):
            if event.once:
                self._told.add(event.line)
            whose = f"trial {', '.join(map(str, event.numbers))}: " if event.numbers else ""
            self.tell(f"{whose}{event.line}")

    def _tell_unfused(self, event: Unfused) -> None:
        names = event.differing or ()
        where = f" where {' or '.join(names)} differ{'s' if len(names) == 1 else ''}" if names else ""
        told = f"not fused{where}: {event.reason}"
        # Where steps are timed, only the figures differ from job to job.
        kind = re.sub(r"\d+(\.\d+)?", "", told)
        if kind not in self._told:
            self._told.add(kind)
            self.tell(told)

    def _show(self, number: int) -> None:
        if number not in self._epochs and len(self._epochs) < MOST_BARS:
            self._epochs[number] = self._bars.add_task(f"trial {number}", total=self._running[number], before=0)

    def _hide(self, number: int) -> None:
        self._running.pop(number, None)
        if number in self._epochs:
            self._bars.remove_task(self._epochs.pop(number))

    def _finish(self, event: Finished) -> None:
        outcome = event.outcome
        self._done += 1
        self._note(event.number, outcome.value if outcome.state == "complete" else None)
        self._hide(event.number)
        self._bars.update(self._search, description=self._headline() or "search", completed=self._done)
        if not self._enabled:
            return
        told = f"{self._monitor} {outcome.value:.4g}" if outcome.value is not None else outcome.reason
        if self._lines:
            of = f"/{self._trials}" if self._trials is not None else ""
            best = f"; {self._headline()}" if self._best else ""
            self._print(f"[{self._done}{of}] trial {event.number}: {outcome.state}, {told}{best}")
        elif outcome.state not in ("complete", "pruned"):
            self._print(f"trial {event.number} {outcome.state}: {told}")

    def _note(self, number: int, value: float | None) -> None:
        if value is not None and is_better(value, self._best[1] if self._best else None, self._mode):
            self._best = (number, value)

    def _headline(self) -> str:
        return f"best {self._monitor} {self._best[1]:.4g} (trial {self._best[0]})" if self._best else ""

    def tell_resumed(self, begun: Iterable[int]) -> None:
        """Says that a study goes on, unless nothing is left of it.

        Args:
            begun: the numbers of the trials that have begun and not finished.
        """
        if not self._nothing_to_run:
            self.tell(resumed(self._done, self._trials, sorted(begun)))

    def tell(self, line: str) -> None:
        """Prints a line above the bars."""
        if self._enabled:
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def resumed(done: int, trials: int | None, begun: Sequence[int]) -> str:
    """That a search goes on, and with which trials.

    Args:
        done: how many trials have finished.
        trials: how many there will be; None if that is open.
        begun: the numbers of those that go on from where they were.

    >>> resumed(2, 9, [2, 3]), resumed(2, None, [5]), resumed(2, 9, [])
    ('2 of 9 trials done; going on with trials 2 and 3', '2 trials done; going on with trial 5', '2 of 9 trials done; going on')
    """
    of = f" of {trials}" if trials is not None else ""
    some = trials if trials is not None else done
    told = f"{done}{of} trial{'s' if some != 1 else ''} done; going on"
    if not begun:
        return told
    names = [*map(str, begun[:MOST_NAMED]), *([f"{len(begun) - MOST_NAMED} more"] if len(begun) > MOST_NAMED else [])]
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{told} with trial{'s' if len(begun) > 1 else ''} {listed}"


def seconds_left(elapsed: float, at: float, done: int, left: int) -> float | None:
    """How long the rest will take at the pace so far; None as long as there is none.

    Args:
        elapsed: seconds of this run.
        at: how many they were when the last one was done. Those since then count down, and do not slow the pace.
        done: in this run.
        left: to do.

    >>> seconds_left(70.0, at=60.0, done=3, left=6)
    110.0
    """
    return max(at / done * left - (elapsed - at), 0.0) if done > 0 else None


def bars(console: Console, shown: bool = True) -> Bars:
    """Bars with the time left; their tasks have a field ``before``, what was completed before this run."""
    return _Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _TimeLeftColumn(),
        console=console,
        disable=not shown,
    )


class _TimeLeftColumn(ProgressColumn):
    """The time left by the mean of this run. Rich's own looks back 30 seconds, and a trial may take longer."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[TaskID, tuple[float, float]] = {}

    def render(self, task: Task) -> Text:
        if task.total is None or task.elapsed is None:
            return Text()
        before = task.fields["before"]
        completed, at = self._last.get(task.id, (before, 0.0))
        if task.completed != completed:
            at = task.elapsed
        self._last[task.id] = (task.completed, at)
        done, left = task.completed - before, task.total - task.completed
        seconds = seconds_left(task.elapsed, at, int(done), int(left))
        return Text("-:--:--" if seconds is None else str(timedelta(seconds=round(seconds))), style="progress.remaining")


class _Bars(Bars):
    def get_renderables(self) -> Iterable[RenderableType]:
        yield _WithMargin(self.make_tasks_table(self.tasks))


@dataclass(frozen=True)
class _WithMargin:
    """Something that leaves the terminal's last columns free."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.inner, options.update_width(max(options.max_width - _MARGIN, 1)))
