"""Oscillation: the metric goes up and down by much of what training has gained, as an lr or momentum that is too high does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

from lightning_hp.babysit.settings import FROM_0_TO_1, MODE, POSITIVE, check, whole
from lightning_hp.babysit.signals.robust import median, usable
from lightning_hp.babysit.signals.signal import Finding, Source, State
from lightning_hp.trial import Mode


@dataclass(frozen=True)
class Oscillation:
    """An oscillation when the metric turns again and again, its swings are large against the gain so far, and it gains little.

    Args:
        mode: whether the metric shall fall (``"min"``) or rise (``"max"``).
        window: checks that are looked at together.
        turns: least part of the checks at which it turns, from 0 to 1; noise alone turns at two of three.
        swing: least change between checks, in their median, as a part of the range that the metric has covered so far.

    Raises:
        ConfigError: a setting is out of its range.

    >>> signal, finding = Oscillation("min", window=6), None
    >>> state = signal.begin()
    >>> for step, loss in enumerate([2.3, 1.5, 2.1, 1.4, 2.0, 1.9]):
    ...     state, finding = signal.observe(state, step, loss)
    >>> finding.reason
    'it swings by 0.6 between checks'
    """

    source: ClassVar[Source] = "monitor"
    mode: Mode
    window: int = 6
    turns: float = 0.6
    swing: float = 0.1

    def __post_init__(self) -> None:
        check(self, mode=MODE, window=whole(4), turns=FROM_0_TO_1, swing=POSITIVE)

    def begin(self) -> State:
        return {"low": None, "high": None, "values": []}

    def observe(self, state: State, step: int, value: float) -> tuple[State, Finding | None]:
        if not usable(value):
            return state, None
        low = value if state["low"] is None else min(state["low"], value)
        high = value if state["high"] is None else max(state["high"], value)
        values = [*state["values"][-(self.window - 1) :], value]
        state = {"low": low, "high": high, "values": values}
        if len(values) < self.window or not self._oscillates(values, high - low):
            return state, None
        swing = median([abs(after - before) for before, after in itertools.pairwise(values)])
        return self.intervened(state), Finding("oscillation", step, f"it swings by {swing:.4g} between checks")

    def intervened(self, state: State) -> State:
        return {**state, "values": []}

    def _oscillates(self, values: list[float], covered: float) -> bool:
        changes = [after - before for before, after in itertools.pairwise(values)]
        turns = sum(one * other < 0 for one, other in itertools.pairwise(changes))
        # True of most, and less work than the medians.
        if turns < self.turns * (len(changes) - 1):
            return False
        sign = 1 if self.mode == "max" else -1
        half = len(values) // 2
        gain = sign * (median(values[half:]) - median(values[:half]))
        swing = median([abs(change) for change in changes])
        return swing > 0 and swing >= self.swing * covered and gain <= swing
