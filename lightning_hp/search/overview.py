"""How far all trials have come: the books that are kept for a pruner that looks at all rungs at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from lightning_hp.pruners import Climb, Oversees
from lightning_hp.search.settled import Settled
from lightning_hp.space import Hparams
from lightning_hp.trial import Judged, Mode, Paused, Rung, Trial


@dataclass
class Overview:
    """Takes in the trials that come to a rung, as `Ladder` does, for a pruner that decides when all of a round wait.

    Args:
        pruner: decides.
        mode: of the objective.
        most: tells how long a trial with such hyperparameters trains, in the pruner's unit; None if that is open.
        round_of: the trials that are proposed together with one, by its number; all of the search where there are no rounds.
        total: how many trials there will be; None if only time will tell.
        judged: what has been decided.
        finished: the finished trials.
    """

    pruner: Oversees
    mode: Mode
    most: Callable[[Hparams], int | None]
    round_of: Callable[[int], range]
    total: int | None = None
    judged: Iterable[Judged] = ()
    finished: Iterable[Trial] = ()
    _climbs: dict[int, Climb] = field(default_factory=dict)
    _rungs: dict[int, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    _paused: dict[int, tuple[Trial, Paused]] = field(default_factory=dict)
    # Those that wait or have ended, as they are.
    _stopped: dict[int, Trial] = field(default_factory=dict)
    _over: set[int] = field(default_factory=set)
    # The trials before this one have been decided about: what was decided by all of them is not decided by fewer.
    _known: int = 0
    # Of the trials before this one it has been told how they stand.
    _told: int = 0

    def __post_init__(self) -> None:
        # A trial has passed its rungs from the lowest up.
        for judged in sorted(self.judged, key=lambda each: each.rung):
            for number, value in judged.values.items():
                self._come(number, value)
            self._decide(judged)
        for trial in self.finished:
            self.finish(trial)

    def until(self, trial: Trial) -> Rung | None:
        """Where a trial is compared next; None if it trains to its end."""
        at = self.pruner.rung(self._climb(trial.number).passed, self.most(trial.hparams))
        return Rung(at, self.pruner.unit) if at is not None else None

    def pause(self, trial: Trial, event: Paused) -> Trial | None:
        """Takes a trial that has come to its rung. Later rounds wait for what `settle` says of it."""
        self._paused[trial.number] = trial, event
        self._stop(event.outcome.applied_to(trial))
        self._come(trial.number, event.outcome.value)
        return None

    def finish(self, trial: Trial) -> None:
        """Takes a trial that has ended."""
        self._stop(trial)
        if trial.state != "pruned":
            climb = self._climb(trial.number)
            self._climbs[trial.number] = replace(climb, values=(*climb.values, trial.value), waits=False, ended=True)

    def rungs_of(self, number: int) -> tuple[tuple[int, float], ...]:
        """The rungs where a trial was compared, with its values there."""
        return self._rungs.get(number, ())

    def settle(self, begun: int, closed: bool) -> Settled:
        """Has the pruner decide, if all trials that have begun wait or have ended, and a round is whole.

        Args:
            begun: all trials with smaller numbers have begun.
            closed: whether no others will.
        """
        settled = Settled()
        # Of those that were to end when the search was interrupted, it is decided already.
        self._part(settled, dict.fromkeys(self._over & self._paused.keys(), False), again=True)
        stop = self._whole(begun, closed)
        if settled.pruned or stop < self._known or (stop == self._told and not closed):
            return settled
        # Their count first: to look for each of very many whenever one comes takes long.
        if len(self._stopped) < stop or not all(number in self._stopped for number in range(stop)):
            return settled
        climbs = {number: self._climb(number) for number in range(stop)}
        decided = self.pruner.decide(climbs, self.mode, self.total, closed)
        if closed and not any(decided.values()):
            # Nothing would ever happen to those that are left over.
            decided = {number: False for number, climb in climbs.items() if climb.waits}
        self._part(settled, decided)
        settled.awaited = settled.going_on
        if not settled.going_on:
            settled.standing = self._standing(stop)
            self._told = stop
        return settled

    def _whole(self, begun: int, closed: bool) -> int:
        """Where the last round ends of which all trials have begun; one that an interrupted search has left may lack some."""
        if closed or begun == 0:
            return begun
        last = self.round_of(begun - 1)
        return begun if last.stop <= begun else last.start

    def _part(self, settled: Settled, decided: dict[int, bool], again: bool = False) -> None:
        by_rung: dict[Rung, list[int]] = defaultdict(list)
        for number in sorted(decided):
            trial, _ = self._paused[number]
            rung = self.until(trial)
            assert rung is not None
            by_rung[rung].append(number)
        for rung, numbers in sorted(by_rung.items(), key=lambda each: each[0].at):
            going_on = frozenset(number for number in numbers if decided[number])
            values = {number: self._climbs[number].values[-1] for number in numbers}
            if not again:
                settled.judged.append(Judged(rung.at, values, going_on))
                self._decide(settled.judged[-1])
            for number in numbers:
                trial, event = self._paused.pop(number)
                if number in going_on:
                    del self._stopped[number]
                settled.part(trial, event, rung, number in going_on)

    def _standing(self, stop: int) -> list[Trial]:
        """The trials as if all had come to one rung, and no farther."""
        worth = self.pruner.worth({number: self._climb(number) for number in range(stop)}, self.mode, self.total)
        here = [self._stopped[number] for number in worth]
        epochs = max((trial.epochs for trial in here), default=0)
        return [replace(trial, state="complete", value=worth[trial.number], epochs=epochs) for trial in here]

    def _stop(self, trial: Trial) -> None:
        self._stopped[trial.number] = trial
        if trial.number < self._told:
            self._told = 0

    def _come(self, number: int, value: float | None) -> None:
        climb = self._climb(number)
        # One that was left at a rung when the search was interrupted, and decided about, comes there again.
        self._climbs[number] = replace(climb, values=(*climb.values[: climb.passed], value), waits=number not in self._over)

    def _decide(self, judged: Judged) -> None:
        for number, value in judged.values.items():
            climb = self._climbs[number]
            self._climbs[number] = replace(climb, passed=climb.passed + (number in judged.going_on), waits=False)
            self._known = max(self._known, number + 1)
            if number not in judged.going_on:
                self._over.add(number)
            if value is not None:
                self._rungs[number] = (*self._rungs.get(number, ()), (judged.rung, value))

    def _climb(self, number: int) -> Climb:
        return self._climbs.get(number, Climb(()))
