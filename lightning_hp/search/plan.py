"""Which trials go together into one job: those whose models may have the same structure, to train as one vectorised fit."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from lightning_hp.space import Hparams, split
from lightning_hp.trial import Job, Rung, Trial

# More rows than this gain little, and their trials end together late.
MOST_TOGETHER = 128


@dataclass
class Plan:
    """The trials that are to start, and how they are put into jobs.

    Only what the hyperparameters tell is looked at, so that no code of the user's runs where a crash would end the search: the
    worker finds out whether the models really have one structure.

    Args:
        places: tells how many jobs run at a time, which may change; trials that go together are divided among them.
        most: trials in a job; 1 for each by itself.
        until: tells the rung to which a trial trains next; None for its end.
    """

    places: Callable[[], int] = lambda: 1
    most: int = MOST_TOGETHER
    until: Callable[[Trial], Rung | None] = lambda trial: None
    # By number, those that have waited longest first; a plain dict is slow to find its first once many have left it.
    _waiting: OrderedDict[int, _Kind] = field(default_factory=OrderedDict)
    # The same by what all of a job have in common, so that no job has to look through all that wait.
    _alike: dict[_Kind, deque[Trial]] = field(default_factory=dict)
    # By a trial's number, the numbers of all that were in its last job.
    _jobs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    # Trials that have to train by themselves, and what those have in common that do not train as one.
    _alone: set[int] = field(default_factory=set)
    _refused: set[_Kind] = field(default_factory=set)
    _shares: dict[_Kind, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def lookahead(self) -> int:
        """How many trials there should be to choose from."""
        return self.most * self.places()

    def add(self, trial: Trial) -> None:
        """Takes a trial that is to start."""
        self._put(trial, (trial.number,) if trial.number in self._alone else ())

    def refuse(self, trials: list[Trial]) -> None:
        """Takes back trials that cannot train as one; neither will others like them."""
        for trial in trials:
            self.add(trial)
            self._refused.add(self._waiting[trial.number])

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
        elif kind not in self._refused:
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
        kind = _Kind(structure(trial.hparams), self.until(trial), only)
        self._waiting[trial.number] = kind
        self._alike.setdefault(kind, deque()).append(trial)


@dataclass(frozen=True)
class _Kind:
    """What the trials of a job have in common. At a rung that few reach, to train as one may be slower and is refused."""

    structure: Hashable
    until: Rung | None
    # The numbers of those that train with no others; empty where anyone may join.
    only: tuple[int, ...]


def structure(hparams: Hparams) -> Hashable:
    """What models with the same structure have in common: all but the model's real numbers, such as lr.

    >>> structure({"lr": 0.1, "layers": 2, "data.batch_size": 32}) == structure({"lr": 0.2, "layers": 2, "data.batch_size": 32})
    True
    >>> structure({"lr": 0.1, "layers": 2}) == structure({"lr": 0.1, "layers": 3})
    False
    >>> structure({"dropouts": [0.1, 0.2]}) == structure({"dropouts": [0.3, 0.4]}) != structure({"dropouts": [0.1]})
    True
    """
    parts = split(hparams)
    model = {name: _form(value) for name, value in parts["model"].items() if not isinstance(value, float)}
    # Choices may be anything, lists and objects too.
    return repr((model, parts["data"], parts["trainer"]))


def _form(value: Any) -> Any:
    """A value, or of a list of real numbers how many they are."""
    numbers = isinstance(value, list) and value and all(isinstance(each, float) for each in value)
    return f"{len(value)} numbers" if numbers else value
