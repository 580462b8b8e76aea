"""Which job comes next, and what becomes of what the jobs tell: the part of a search that lives while it runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from lightning_hp.errors import SearchStoppedError
from lightning_hp.search.ask import Ask
from lightning_hp.search.books import Books
from lightning_hp.search.plan import Plan
from lightning_hp.seeds import trial_seed
from lightning_hp.space import Hparams
from lightning_hp.trial import Emit, Event, Finished, Grouped, Job, Paused, Retried, Started, Trial, Unfused

# This many failures of one kind, with nothing else before them, condemn the search.
SAME_FAILURES = 5


@dataclass
class Dispatch:
    """Hands out the trials that a study lacks, and takes in their events.

    Args:
        ask: decides each trial's hyperparameters.
        trials: how many the study shall have in all; None if only the sampler or the time ends it.
        deadline: of the monotonic clock, after which no trial begins; None for none.
        retries: how often a trial is tried again that was lost by no fault of the user's code.
        max_epochs: tells how many epochs a trial with such hyperparameters has.
        finished: the study's finished trials, by number.
        sinks: take every event; may be given later.
        plan: puts the trials into jobs.
        begun: hyperparameters, by number, of trials that were begun and not finished.
        ladder: knows which trials wait at a rung; None where no trial is pruned.
    """

    ask: Ask
    trials: int | None
    deadline: float | None
    retries: int
    max_epochs: Callable[[Hparams], int | None]
    finished: Sequence[Trial]
    sinks: Sequence[Emit] = ()
    plan: Plan = field(default_factory=lambda: Plan(most=1))
    begun: Mapping[int, Hparams] = field(default_factory=dict)
    ladder: Books | None = None
    _running: dict[int, Trial] = field(default_factory=dict)
    _losses: dict[int, int] = field(default_factory=dict)
    _failures: list[Trial] = field(default_factory=list)
    _next: int = 0

    def __post_init__(self) -> None:
        self._finished = {trial.number for trial in self.finished}
        self._next = self._unfinished_from(0)
        self._complete = any(trial.state == "complete" for trial in self.finished)
        # Only what comes before anything else says that the search itself is wrong.
        self._hopeful = bool(self.finished)
        for trial in self.finished:
            self.ask.finish(trial)
        self.ask.tell = self._tell

    def next_job(self) -> Job | None:
        """The next job; None if there is none now."""
        # Those at a rung are looked at when there is room, so that trials that came there together are compared.
        self._settle(self._closed)
        self._fill()
        if not self.plan and not self._running:
            # Nothing will come any more to the rungs at which trials wait.
            self._settle(closed=True)
            self._fill()
        job = self.plan.next_job()
        for trial in job.trials if job is not None else ():
            self._running[trial.number] = trial
            # Again after each rung: how it stands is told anew.
            self._tell(Started(trial, time.time(), self.max_epochs(trial.hparams)))
        return job

    def take(self, event: Event) -> None:
        """Takes in an event of a job.

        Raises:
            MonitorError: the monitored metric is never logged, or watched by two Babysitters.
            SearchStoppedError: the first five trials failed in the same way.
        """
        if isinstance(event, Finished):
            self._finish(self._running.pop(event.number), event)
            return
        if isinstance(event, Paused):
            assert self.ladder is not None
            so_far = self.ladder.pause(self._running.pop(event.number), event)
            if so_far is not None:
                self.ask.finish(so_far)
        if isinstance(event, Grouped):
            for number, structure in event.structures.items():
                self.plan.learn(self._running[number], structure)
            for number in event.given_back:
                self.plan.add(self._running.pop(number))
        if isinstance(event, Unfused):
            self.plan.refuse([self._running.pop(number) for number in event.numbers], event.differing)
        self._tell(event)

    def _settle(self, closed: bool) -> None:
        """Has it decided who goes on from the rungs, and who is over."""
        if self.ladder is None:
            return
        settled = self.ladder.settle(self._next, closed)
        for judged in settled.judged:
            self._tell(judged)
        for trial in settled.awaited:
            self.ask.begin(trial)
        for trial in settled.going_on:
            self.plan.add(trial)
        for left, (trial, event) in zip(reversed(range(len(settled.pruned))), settled.pruned, strict=True):
            self._finish(trial, replace(event, more=left > 0))
        for trial in settled.standing:
            self.ask.finish(trial)

    def _fill(self) -> None:
        # Where no trial is left, nobody asks how many there is room for: a cluster would be connected to for it.
        while not self._closed and len(self.plan) < self.plan.lookahead and (trial := self._new_trial()) is not None:
            self.plan.add(trial)

    @property
    def _closed(self) -> bool:
        """Whether no further trial begins, whatever finishes."""
        ended = self.trials is not None and self._next >= self.trials
        return ended or (self.deadline is not None and time.monotonic() >= self.deadline)

    def _new_trial(self) -> Trial | None:
        number = self._next
        hparams = self.begun.get(number) or self.ask.propose(number)
        if hparams is None:
            return None
        self._next = self._unfinished_from(number + 1)
        trial = Trial(number, hparams, trial_seed(self.ask.seed, number))
        self.ask.begin(trial)
        return trial

    def _unfinished_from(self, number: int) -> int:
        return next(each for each in count(number) if each not in self._finished)

    def _finish(self, trial: Trial, event: Finished) -> None:
        lost = self._losses.get(event.number, 0)
        if event.outcome.retriable and lost < self.retries:
            self._losses[event.number] = lost + 1
            # A last try is by itself, so that no trial fails by what another one of its job does.
            together = event.outcome.blameless and lost == 0 and self.retries > 1
            (self.plan.again if together else self.plan.separate)(trial)
            self._tell(Retried(event.number, event.outcome.reason or ""))
            return
        if event.outcome.retriable and lost:
            reason = f"{event.outcome.reason} ({lost + 1} tries)"
            event = replace(event, outcome=replace(event.outcome, reason=reason))
        self._tell(event)
        done = event.outcome.applied_to(trial)
        if self.ladder is not None:
            done = replace(done, rungs=self.ladder.rungs_of(trial.number))
            self.ladder.finish(done)
        self.ask.finish(done)
        self._finished.add(event.number)
        self._complete |= done.state == "complete"
        if event.outcome.error is not None and not self._complete:
            raise event.outcome.error
        self._stop_if_hopeless(done)

    def _stop_if_hopeless(self, done: Trial) -> None:
        if self._hopeful:
            return
        self._failures.append(done)
        self._hopeful = not _same_failure(done, self._failures[0])
        if len(self._failures) == SAME_FAILURES and not self._hopeful:
            raise SearchStoppedError(
                f"the first {SAME_FAILURES} trials all failed in the same way: {done.reason}\n\n{done.traceback or ''}"
            )

    def _tell(self, event: Event) -> None:
        for sink in self.sinks:
            sink(event)


def _same_failure(one: Trial, other: Trial) -> bool:
    if one.state != "failed" or other.state != "failed":
        return False
    # The message may hold the trial's own numbers; then the place tells.
    return one.reason == other.reason or (one.traceback is not None and _frames(one) == _frames(other))


def _frames(trial: Trial) -> list[str]:
    """Where the user's code failed. How it was called is different by itself and in a fused fit."""
    frames = re.findall(r'^ +File "[^\n]*', trial.traceback or "", re.MULTILINE)
    return [frame for frame in frames if not any(callers in frame for callers in _CALLERS)]


_CALLERS = (str(Path(__file__).parent.parent), str(Path("lightning", "pytorch")))
