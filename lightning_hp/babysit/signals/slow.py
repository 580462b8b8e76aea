"""Slow progress: a steady decline with little noise and little curvature, as an lr that is too low makes it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

from lightning_hp.babysit.settings import FROM_0_TO_1, MODE, NOT_NEGATIVE, check, whole
from lightning_hp.babysit.signals.robust import deviation, usable
from lightning_hp.babysit.signals.signal import Finding, Source, State
from lightning_hp.trial import Mode


@dataclass(frozen=True)
class Slow:
    """Slow when every check improves on the one before, and the later half of the window by nearly as much as the earlier.

    At the right lr a curve bends: it gains most at first, and its noise soon shows. One that goes straight on, check after
    check, could have gone faster.

    Args:
        mode: whether the metric shall fall (``"min"``) or rise (``"max"``).
        window: checks that are looked at together.
        straightness: least gain of the later half, as a part of the earlier half's.
        noise: largest deviation of a single check's gain, as a part of the mean gain.

    Raises:
        ConfigError: a setting is out of its range.

    >>> signal, finding = Slow("min", window=5), None
    >>> state = signal.begin()
    >>> for step, loss in enumerate([2.3, 2.2, 2.1, 2.01, 1.92]):
    ...     state, finding = signal.observe(state, step, loss)
    >>> finding.reason
    'it went straight on from 2.3 to 1.92 in 5 checks, a higher lr may be faster'
    """

    source: ClassVar[Source] = "monitor"
    mode: Mode
    window: int = 5
    straightness: float = 0.6
    noise: float = 0.5

    def __post_init__(self) -> None:
        check(self, mode=MODE, window=whole(5), straightness=FROM_0_TO_1, noise=NOT_NEGATIVE)

    def begin(self) -> State:
        return {"values": []}

    def observe(self, state: State, step: int, value: float) -> tuple[State, Finding | None]:
        if not usable(value):
            return self.begin(), None
        values = [*state["values"][-(self.window - 1) :], value]
        if len(values) < self.window or not self._is_slow(values):
            return {"values": values}, None
        span = f"from {values[0]:.4g} to {value:.4g} in {self.window} checks"
        return self.begin(), Finding("slow", step, f"it went straight on {span}, a higher lr may be faster")

    def intervened(self, state: State) -> State:
        return self.begin()

    def _is_slow(self, values: list[float]) -> bool:
        sign = 1 if self.mode == "max" else -1
        gains = [sign * (after - before) for before, after in itertools.pairwise(values)]
        half = len(gains) // 2
        earlier, later = sum(gains[:half]), sum(gains[-half:])
        if min(gains) <= 0 or later < self.straightness * earlier:
            return False
        return deviation(gains) <= self.noise * sum(gains) / len(gains)
