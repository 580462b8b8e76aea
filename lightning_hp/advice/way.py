"""Many models, or one that is babysat: what the machine can train in the time given decides."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from lightning_hp.trial import EpochEnded, Event, Started, left_by
from lightning_hp.words import duration

# A babysat fit from random hyperparameters is about as good as the best of so many trials: tests/benchmarks/which_way.py.
WORTH = 4
# With fewer trials than this a search has not begun to zoom in.
FIRST_ROUND = 12
HOUR = 3600.0


class Way:
    """Tells, once the first epochs have been trained, that the time given is for one babysat fit rather than for a search.

    Args:
        seconds: the time that the search may take.
        tell: takes the line. It is told at most once.
        clock: seconds from any beginning.

    >>> from lightning_hp.trial import Trial
    >>> ticks = iter([0.0, 90.0, 150.0])
    >>> way = Way(3600.0, print, clock=lambda: next(ticks))
    >>> way.record(Started(Trial(0, {}, 0), 0.0, max_epochs=20))
    >>> for epoch in (0, 1):
    ...     way.record(EpochEnded(0, epoch, {}))
    note: at 1 min an epoch max_time is enough for about 3 trials; one babysat fit is worth as much: lightning-hp babysit,
    or Trainer(callbacks=[Babysitter(policy='probe')])
    """

    def __init__(self, seconds: float, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._tell: Callable[[str], None] | None = tell
        self._clock = clock
        self._running: dict[int, tuple[float, int | None]] = {}
        self._after_first: dict[int, float] = {}

    def record(self, event: Event) -> None:
        if self._tell is None:
            return
        if isinstance(event, Started):
            self._running[event.trial.number] = (self._clock(), event.max_epochs)
        elif isinstance(event, EpochEnded) and event.number in self._running:
            # The first epoch has what comes once: importing, compiling, starting workers.
            if event.number in self._after_first:
                _, epochs = self._running[event.number]
                self._judge(self._clock() - self._after_first[event.number], epochs)
            elif event.epoch == 0:
                self._after_first[event.number] = self._clock()
        for number in left_by(event):
            self._running.pop(number, None)

    def _judge(self, epoch: float, epochs: int | None) -> None:
        tell, self._tell = self._tell, None
        if tell is None or epochs is None or epochs < 1:
            return
        trials = self._seconds / max(epoch * epochs, 1e-9) * len(self._running)
        if trials < WORTH:
            tell(
                f"note: at {duration(epoch)} an epoch max_time is enough for about {max(math.floor(trials), 1)} "
                f"trial{'s' if trials >= 2 else ''}; one babysat fit is worth as much: lightning-hp babysit, or "
                "Trainer(callbacks=[Babysitter(policy='probe')])"
            )


def worth_searching(seconds: float, at_a_time: int) -> str | None:
    """What to say after one fit that took so long: how many trials an hour would do; None where they are too few.

    >>> worth_searching(20.0, at_a_time=2)
    'an hour is enough for about 360 fits like this one, 2 at a time: lightning-hp search tries many'
    >>> worth_searching(1200.0, at_a_time=2)
    """
    trials = math.floor(HOUR / max(seconds, 0.1) * at_a_time)
    if trials < FIRST_ROUND:
        return None
    parallel = f", {at_a_time} at a time" if at_a_time > 1 else ""
    return f"an hour is enough for about {trials} fits like this one{parallel}: lightning-hp search tries many"
