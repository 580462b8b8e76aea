"""Who stands at which rung: the books that are kept for a pruner while its search runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from lightning_hp.pruners import Pruner, Standing
from lightning_hp.search.settled import Settled
from lightning_hp.space import Hparams
from lightning_hp.trial import Judged, Mode, Paused, Rung, Trial

# The first trial of a bracket, and the index of one of its rungs.
_Level: TypeAlias = tuple[int, int]


@dataclass
class Ladder:
    """Takes in the trials that come to a rung, and gives back those that go on or are pruned.

    All of it comes from what the study holds: the decisions so far and the finished trials. A trial that an interrupted search
    has left at a rung comes there again, since its next job pauses at once.

    Args:
        pruner: decides.
        mode: of the objective.
        most: tells how long a trial with such hyperparameters trains, in the pruner's unit; None if that is open.
        round_of: the trials that are proposed together with one, by its number; all of the search where there are no rounds.
        judged: what has been decided.
        finished: the finished trials.
    """

    pruner: Pruner
    mode: Mode
    most: Callable[[Hparams], int | None]
    round_of: Callable[[int], range]
    judged: Iterable[Judged] = ()
    finished: Iterable[Trial] = ()
    _passed: dict[int, int] = field(default_factory=dict)
    _standings: dict[_Level, dict[int, Standing]] = field(default_factory=dict)
    # By level, since a search may have very many trials at some of them while nothing happens there.
    _paused: dict[_Level, dict[int, tuple[Trial, Paused]]] = field(default_factory=dict)
    _ended: dict[int, float | None] = field(default_factory=dict)
    _rungs: dict[int, tuple[tuple[int, float], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A trial has passed its rungs from the lowest up.
        for judged in sorted(self.judged, key=lambda each: each.rung):
            self._keep(judged)
            for number, value in judged.values.items():
                self._decide(number, value, number in judged.going_on)
        for trial in self.finished:
            self.finish(trial)

    def until(self, trial: Trial) -> Rung | None:
        """Where a trial is compared next; None if it trains to its end."""
        at = self.pruner.rung(self._passed.get(trial.number, 0), self.most(trial.hparams))
        return Rung(at, self.pruner.unit) if at is not None else None

    def pause(self, trial: Trial, event: Paused) -> Trial | None:
        """Takes a trial that has come to its rung.

        Returns:
            How it stands, where it waits for later rounds, which are to be proposed by that; otherwise None.
        """
        level = self._level(trial.number)
        self._paused.setdefault(level, {})[trial.number] = trial, event
        # Of one that was to end here when the search was interrupted, it is decided already.
        self._standings.setdefault(level, {}).setdefault(trial.number, Standing(event.outcome.value))
        waits_for_later = self._bracket(trial.number).stop > self.round_of(trial.number).stop
        return self._so_far(trial, event) if waits_for_later else None

    def finish(self, trial: Trial) -> None:
        """Takes a trial that has ended: it is compared with the others by what it has come to."""
        if trial.state == "pruned":
            self._standings.setdefault(self._level(trial.number), {}).setdefault(trial.number, Standing(trial.value, False))
        else:
            self._ended[trial.number] = trial.value
            self._stand_ended(trial.number)

    def rungs_of(self, number: int) -> tuple[tuple[int, float], ...]:
        """The rungs where a trial was compared, with its values there."""
        return self._rungs.get(number, ())

    def settle(self, begun: int, closed: bool) -> Settled:
        """Has the pruner decide what can be decided now.

        Args:
            begun: all trials with smaller numbers have begun.
            closed: whether no others will.
        """
        settled = Settled()
        # From below, since who has ended may count at several rungs.
        for level in sorted(self._paused):
            standings, here = self._standings[level], self._paused[level]
            complete = self._is_complete(level, begun, closed)
            decided = self.pruner.judge(standings, complete, self.mode)
            # Nothing would ever happen to those that are left over.
            decided = (dict.fromkeys(standings, True) if complete else {}) | decided
            new = {number: on for number, on in decided.items() if standings[number].goes_on is None}
            first, _ = next(iter(here.values()))
            rung = self.until(first)
            assert rung is not None
            if new:
                going_on = frozenset(number for number, on in new.items() if on)
                settled.judged.append(Judged(rung.at, {number: standings[number].value for number in new}, going_on))
                self._keep(settled.judged[-1])
                for number in new:
                    self._decide(number, standings[number].value, number in going_on)
            self._part(settled, level, rung)
        return settled

    def _so_far(self, trial: Trial, event: Paused) -> Trial:
        rung, value = self.until(trial), event.outcome.value
        here = ((rung.at, value),) if rung is not None and value is not None else ()
        return replace(event.outcome.applied_to(trial), rungs=(*self.rungs_of(trial.number), *here))

    def _part(self, settled: Settled, level: _Level, rung: Rung) -> None:
        standings, here = self._standings[level], self._paused[level]
        for number in [number for number in here if standings[number].goes_on is not None]:
            trial, event = here.pop(number)
            settled.part(trial, event, rung, bool(standings[number].goes_on))
        if not here:
            del self._paused[level]

    def _keep(self, judged: Judged) -> None:
        for number, value in judged.values.items():
            if value is not None:
                self._rungs[number] = (*self._rungs.get(number, ()), (judged.rung, value))

    def _decide(self, number: int, value: float | None, goes_on: bool) -> None:
        self._standings.setdefault(self._level(number), {})[number] = Standing(value, goes_on)
        if goes_on:
            self._passed[number] = self._passed.get(number, 0) + 1
            self._stand_ended(number)

    def _stand_ended(self, number: int) -> None:
        """Places a trial that has ended among those that come to its next rung."""
        if number in self._ended:
            self._standings.setdefault(self._level(number), {}).setdefault(number, Standing(self._ended[number]))

    def _is_complete(self, level: _Level, begun: int, closed: bool) -> bool:
        """Whether all that will ever come to a rung are there."""
        first, index = level
        here = self._standings.get(level, {})
        if index > 0:
            below = self._standings[first, index - 1]
            waiting = self._paused.get((first, index - 1), {})
            undecided = any(below[number].goes_on is None for number in waiting)
            arrived = all(number in here for number, each in below.items() if each.goes_on)
            return arrived and not undecided and self._is_complete((first, index - 1), begun, closed)
        stop = self._bracket(first).stop
        expected = range(first, min(stop, begun))
        # Their count first: to look for each of very many whenever one comes takes long.
        return (closed or stop <= begun) and len(here) >= len(expected) and all(number in here for number in expected)

    def _level(self, number: int) -> _Level:
        return self._bracket(number).start, self._passed.get(number, 0)

    def _bracket(self, number: int) -> range:
        return self.pruner.bracket(number, self.round_of(number))
