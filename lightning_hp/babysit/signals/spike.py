"""Loss spike: the training loss jumps, stays up, and has lost a good part of what training had gained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lightning_hp.babysit.settings import NOT_NEGATIVE, POSITIVE, check, whole
from lightning_hp.babysit.signals.robust import deviation, median, usable
from lightning_hp.babysit.signals.signal import Finding, Source, State

# Of the numbers that are compared, so much may be the rounding of the shorter way.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Spike:
    """A spike when the last few losses stand far above those before, by a z-score from median and median absolute deviation.

    Single hard batches are no spike, however far they stand out: close to convergence, losses have heavy tails. So a spike has
    to last, and to undo a part of the progress since the fit began.

    Args:
        window: losses to compare with.
        lasting: losses in a row that have to be high, in their median.
        deviations: how many robust standard deviations above the window's median is high.
        undone: least part of the progress since the first loss that has to be lost, from 0 to 1.

    Raises:
        ConfigError: a setting is out of its range.

    >>> signal, finding = Spike(window=10, lasting=3), None
    >>> state = signal.begin()
    >>> for step, loss in enumerate([4, 3, 2, 1.1, 1, 1.1, 1, 1.1, 1, 1.1, 3, 3.1, 3.2]):
    ...     state, finding = signal.observe(state, step, loss)
    >>> finding.reason
    'the loss jumped from 1.1 to 3.1'
    """

    source: ClassVar[Source] = "loss"
    window: int = 50
    lasting: int = 5
    deviations: float = 6.0
    undone: float = 0.3

    def __post_init__(self) -> None:
        check(self, window=whole(2), lasting=whole(1), deviations=POSITIVE, undone=NOT_NEGATIVE)

    def begin(self) -> State:
        return {"first": None, "losses": []}

    def observe(self, state: State, step: int, value: float) -> tuple[State, Finding | None]:
        if not usable(value):
            return state, None
        first = value if state["first"] is None else state["first"]
        losses = [*state["losses"][-(self.window + self.lasting - 1) :], value]
        state = {"first": first, "losses": losses}
        if len(losses) < self.window + self.lasting:
            return state, None
        before, last = losses[: self.window], losses[self.window :]
        if not self._is_spike(first, before, last):
            return state, None
        reason = f"the loss jumped from {median(before):.4g} to {median(last):.4g}"
        return self.intervened(state), Finding("spike", step, reason)

    def passed(self, state: State, values: Sequence[float]) -> State | None:
        first, losses, whole = state["first"], [*state["losses"], *values], self.window + self.lasting
        if first is None:
            return None
        for end in self._suspects(first, losses, max(len(losses) - len(values) + 1, whole)):
            if self._is_spike(first, losses[end - whole : end - self.lasting], losses[end - self.lasting : end]):
                return None
        return {"first": first, "losses": losses[-whole:]}

    def intervened(self, state: State) -> State:
        return {**state, "losses": []}

    def _is_spike(self, first: float, before: list[float], last: list[float]) -> bool:
        # Nearly always true of one of the last losses, and cheaper than a median at every step.
        if min(last) <= sum(before) / self.window:
            return False
        level = median(before)
        rise = median(last) - level
        return rise > max(self.deviations * deviation(before), self.undone * (first - level), 0.0)

    def _suspects(self, first: float, losses: list[float], end: int) -> Iterator[int]:
        """Where, from that end on, losses end of which one may have to be asked: some stand high, and so many in a row."""
        if end > len(losses):
            return
        recent, lowest = losses[end - self.lasting :], min(losses)
        highest = max(recent)
        rounding = _ROUNDING * (abs(first) + abs(lowest) + abs(highest))
        # How high they have to stand to undo enough, wherever the level before them lies.
        level = lowest if self.undone <= 1.0 else max(losses)
        if highest <= level + self.undone * (first - level) - rounding:
            return
        # No mean before them is lower, of which only the losses are summed that all of them share.
        shared = losses[len(losses) - self.window - self.lasting : end - self.lasting]
        mean = (sum(shared) + (self.window - len(shared)) * lowest) / self.window - rounding
        row = 0
        for index, loss in enumerate(recent, end - self.lasting + 1):
            row = row + 1 if loss > mean else 0
            if row >= self.lasting:
                yield index
