"""Which trials go together into one job: those whose models may have the same structure, to train as one vectorised fit."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lightning_hp.search.kinds import Kind, Kinds
from lightning_hp.trial import Job, Rung, Trial

# More rows than this gain little, and their trials end together late.
MOST_TOGETHER = 128


@dataclass
class Plan:
    """The trials that are to start, and how they are put into jobs.

    Only what the hyperparameters tell is looked at, so that no code of the user's runs where a crash would end the search: a
    worker finds out which models have one structure, trains some of those, and gives the others back.

    Args:
        places: tells how many jobs run at a time, which may change; trials that go together are divided among them.
        most: trials in a job; 1 for each by itself.
        until: tells the rung to which a trial trains next; None for its end.
    """

    places: Callable[[], int] = lambda: 1
    most: int = MOST_TOGETHER
    until: Callable[[Trial], Rung | None] = lambda trial: None
    # By number, those that have waited longest first; a plain dict is slow to find its first once many have left it.
    _waiting: OrderedDict[int, Kind] = field(default_factory=OrderedDict)
    # The same by what all of a job have in common, so that no job has to look through all that wait.
    _alike: dict[Kind, deque[Trial]] = field(default_factory=dict)
    # By a trial's number, the numbers of all that were in its last job.
    _jobs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    # Trials that have to train by themselves.
    _alone: set[int] = field(default_factory=set)
    _kinds: Kinds = field(default_factory=Kinds)
    _shares: dict[Kind, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def lookahead(self) -> int:
        """How many trials there should be to choose from."""
        return self.most * self.places()

    def add(self, trial: Trial) -> None:
        """Takes a trial that is to start, or one that was given back."""
        self._put(trial, (trial.number,) if trial.number in self._alone else ())

    def learn(self, trial: Trial, structure: str) -> None:
        """Takes note of the structure of a trial's model, as a worker has found it."""
        self._kinds.learn(trial, structure)

    def refuse(self, trials: Sequence[Trial], differing: Sequence[str] | None = ()) -> None:
        """Takes back trials that cannot train as one; neither will others like them.

        Args:
            trials: of one job.
            differing: the whole numbers in which they differ, if it may be for these: those that have the same ones will be
                tried. None where it is not for any numbers.
        """
        if self._kinds.refuse([(trial, self.until(trial)) for trial in trials], differing):
            self._sort_anew()
        for trial in trials:
            self.add(trial)

    def again(self, trial: Trial) -> None:
        """Takes back a trial that shall train with those of its last job once more, as far as these are taken back as well."""
        self._put(trial, self._jobs[trial.number])

    def separate(self, trial: Trial) -> None:
        """Takes back a trial that shall train by itself from now on, such as one whose job was lost again."""
        self._alone.add(trial.number)
        self.add(trial)

    def next_job(self) -> Job | None:
        """The job of the trial that has waited longest, with as many others as may go with it."""
        if not self._waiting:
            return None
        kind = next(iter(self._waiting.values()))
        alike = self._alike[kind]
        size = 1
        if kind.only:
            size = len(alike)
        elif not self._kinds.is_refused(kind):
            # The last shares are not made smaller for those that come late.
            self._shares[kind] = size = max(self._shares.get(kind, 1), min(self.most, -(-len(alike) // self.places())))
        together = tuple(alike.popleft() for _ in range(min(size, len(alike))))
        numbers = tuple(trial.number for trial in together)
        for number in numbers:
            del self._waiting[number]
            self._jobs[number] = numbers
        if not alike:
            del self._alike[kind]
        return Job(together, kind.until)

    def _put(self, trial: Trial, only: tuple[int, ...]) -> None:
        until = self.until(trial)
        kind = Kind(until, only=only) if only else self._kinds.of(trial, until)
        self._waiting[trial.number] = kind
        self._alike.setdefault(kind, deque()).append(trial)

    def _sort_anew(self) -> None:
        """Puts all that wait where they belong by what is known now, in the same order."""
        trials = {trial.number: trial for alike in self._alike.values() for trial in alike}
        waiting, self._waiting, self._alike = self._waiting, OrderedDict(), {}
        for number, kind in waiting.items():
            self._put(trials[number], kind.only)
