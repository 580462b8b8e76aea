"""Gradient drift: the gradient's norm grows and grows, which comes before many divergences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_hp.babysit.settings import ABOVE_1, POSITIVE, check, whole
from lightning_hp.babysit.signals.robust import theil_sen
from lightning_hp.babysit.signals.signal import Finding, Source, State


@dataclass(frozen=True)
class GradientDrift:
    """A drift when the trend of the gradient's norm, on the log scale, has surely multiplied it within the window.

    Args:
        window: sampled norms that the trend is taken over.
        growth: the norm at the window's end has to be so many times that at its beginning.
        deviations: how sure of it, in standard deviations.

    Raises:
        ConfigError: a setting is out of its range.

    >>> signal, finding = GradientDrift(window=5), None
    >>> state = signal.begin()
    >>> for step, norm in enumerate([1, 5, 30, 100, 700]):
    ...     state, finding = signal.observe(state, step, norm)
    >>> finding.reason
    "the gradient's norm grew from 1 to 700"
    """

    source: ClassVar[Source] = "gradient_norm"
    window: int = 20
    growth: float = 30.0
    deviations: float = 2.0

    def __post_init__(self) -> None:
        check(self, window=whole(3), growth=ABOVE_1, deviations=POSITIVE)

    def begin(self) -> State:
        return {"logs": []}

    def observe(self, state: State, step: int, value: float) -> tuple[State, Finding | None]:
        # A norm of 0 says that nothing was learned from, an infinite one that mixed precision passes over the step.
        if not 0 < value < math.inf:
            return state, None
        logs = [*state["logs"][-(self.window - 1) :], math.log(value)]
        if len(logs) < self.window or not self._may_drift(logs):
            return {"logs": logs}, None
        if theil_sen(logs, self.deviations).low * (self.window - 1) < math.log(self.growth):
            return {"logs": logs}, None
        reason = f"the gradient's norm grew from {math.exp(logs[0]):.4g} to {value:.4g}"
        return self.begin(), Finding("drift", step, reason)

    def intervened(self, state: State) -> State:
        return self.begin()

    def _may_drift(self, logs: list[float]) -> bool:
        # Half of all pairs lie less than 0.3 windows apart, so that the median slope, over the whole window, is below 3.5 times
        # the range. The slope itself takes ten times as long as all other signals.
        return 3.5 * (max(logs) - min(logs)) >= math.log(self.growth)
