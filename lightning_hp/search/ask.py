"""What is tried next: the user's own hyperparameters, then what the sampler proposes from the trials that it may see."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from lightning_hp.description import name_of
from lightning_hp.errors import ConfigError
from lightning_hp.samplers import Explains, Grid, InRounds, Sampler, WantsRunning
from lightning_hp.samplers.random import drawn
from lightning_hp.samplers.rounds import ONE_ROUND
from lightning_hp.space import Hparams, Space
from lightning_hp.space.constraint import check
from lightning_hp.trial import Mode, RoundBegan, Trial, ranges

# Trials of a round that are asked for together: a sampler looks through all that has finished for each time that it is asked.
AT_ONCE = 64
_number = attrgetter("number")


def check_constraint(space: Space, sampler: Sampler, seed: int) -> None:
    """Tries a space's constraint before a search begins.

    Raises:
        ConfigError: it raises an error, returns neither True nor False, or nothing has been found that meets it.
    """
    # A grid's combinations are all looked at when they are counted.
    if space.constraint is not None and not isinstance(sampler, Grid):
        check(space.constraint, drawn(space, seed, 0))


@dataclass
class Ask:
    """Asks a sampler, and remembers what it may see. To the sampler, the first trial that it proposes is number 0.

    Args:
        space: where to propose from.
        sampler: decides each trial's hyperparameters.
        seed: the study's.
        mode: of the objective.
        queue: hyperparameters of the first trials, before the sampler is asked.
        earlier: trials of other studies, numbered below 0.
        tell: takes a `RoundBegan` where what a sampler proposes depends on what it has seen.
    """

    space: Space
    sampler: Sampler
    seed: int
    mode: Mode = "min"
    queue: Sequence[Hparams] = ()
    earlier: Sequence[Trial] = ()
    tell: Callable[[RoundBegan], None] = lambda began: None
    _history: list[Trial] = field(default_factory=list)
    _open: dict[int, Trial] = field(default_factory=dict)
    _proposed: dict[int, Hparams] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._history += [replace(trial, number=trial.number - len(self.queue)) for trial in self.earlier]

    def round_of(self, number: int) -> range:
        """The trials that are proposed together with this one; all, where the sampler knows no rounds."""
        if not isinstance(self.sampler, InRounds):
            return ONE_ROUND
        round_ = self.sampler.round_of(max(number - len(self.queue), 0))
        # Those that the user gives go with the first.
        first = round_.start + len(self.queue) if round_.start > 0 else 0
        return range(first, min(round_.stop + len(self.queue), ONE_ROUND.stop))

    def begin(self, trial: Trial) -> None:
        """Notes that a trial has begun, which later rounds wait for."""
        self._open[trial.number] = replace(trial, number=trial.number - len(self.queue), state="running")

    def finish(self, trial: Trial) -> None:
        """Takes in a finished trial, or one that later rounds do not wait for, as it stands now; again when it has ended."""
        self._open.pop(trial.number, None)
        # The curves stay on the disk, so that the search's memory does not grow by them.
        seen = replace(trial, number=trial.number - len(self.queue), metrics={}, traceback=None)
        at = bisect_left(self._history, seen.number, key=_number)
        known = at < len(self._history) and self._history[at].number == seen.number
        self._history[at : at + known] = [seen]

    def propose(self, number: int) -> Hparams | None:
        """Hyperparameters for a trial; None if there are none left, or if those of earlier trials are to be waited for."""
        if number < len(self.queue):
            return self.queue[number]
        asked = number - len(self.queue)
        if asked not in self._proposed:
            self._proposed = self._ask_for(asked)
        proposed = self._proposed.pop(asked, None)
        if proposed is not None and not self.space.allows(proposed):
            raise ConfigError(
                f"strategy {name_of(self.sampler)} proposed what breaks the constraint, {proposed!r}: let it ask "
                "space.allows(hparams) first"
            )
        return proposed

    def _ask_for(self, number: int) -> dict[int, Hparams]:
        """What is proposed for a trial, by number, and for those after it that can be asked for at once."""
        if not isinstance(self.sampler, InRounds):
            return self._ask([number], self._history, first=number)
        round_ = self.sampler.round_of(number)
        if round_.start == 0:
            return self._ask([number], self._history[: len(self.earlier)], first=0)
        if any(each < round_.start + len(self.queue) for each in self._open):
            return {}
        # What a round has made of itself so far is not for its other trials to see.
        seen = self._history[: bisect_left(self._history, round_.start, key=_number)]
        return self._ask(range(number, min(round_.stop, number + AT_ONCE)), seen, round_.start)

    def _ask(self, numbers: Sequence[int], seen: list[Trial], first: int) -> dict[int, Hparams]:
        given = (self.space, self.seed)
        shown = seen
        if isinstance(self.sampler, WantsRunning) and not isinstance(self.sampler, InRounds):
            shown = sorted([*seen, *self._open.values()], key=_number)
        proposed = self.sampler.propose(*given, numbers, shown, self.mode)
        if not proposed:
            return {}
        number = numbers[0]
        learns = not isinstance(self.sampler, InRounds) or self.sampler.round_of(number) != ONE_ROUND
        if number == first and learns:
            told = ranges(each.number + len(self.queue) for each in seen)
            notes = self.sampler.explain(*given, number, seen, self.mode) if isinstance(self.sampler, Explains) else {}
            self.tell(RoundBegan(number + len(self.queue), told, notes))
        return dict(zip(numbers, proposed, strict=False))
