"""Plateau by trend: what the metric still promises to gain is negligible, uncertainty and all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lightning_hp.babysit.settings import MODE, NOT_NEGATIVE, POSITIVE, check, whole
from lightning_hp.babysit.signals.robust import noise, theil_sen, usable
from lightning_hp.babysit.signals.signal import Finding, Source, State
from lightning_hp.trial import Mode

# So many deviations above the window's best, a value is part of a spike, and its recovery is to be waited for.
_SPIKE = 3.0


@dataclass(frozen=True)
class TrendPlateau:
    """A plateau when the improvement that the trend promises over the coming window is negligible.

    The trend is the Theil-Sen slope of the last checks; the promise takes it at its better bound, so that under noise the
    signal waits until it knows. Negligible is what is below a small part of all that has been gained since the first check,
    or below the noise of a single check. A spike and its recovery are no plateau, and slow progress is none either.

    Args:
        mode: whether the metric shall fall (``"min"``) or rise (``"max"``).
        window: checks that the trend is taken over, and as many that it is continued for.
        negligible: part of the gain since the first check, from 0 to 1.
        noise: part of the deviation of single checks about the trend.
        deviations: how sure the bound is, in standard deviations.

    Raises:
        ConfigError: a setting is out of its range.

    >>> signal, finding = TrendPlateau("min", window=4), None
    >>> state = signal.begin()
    >>> for step, loss in enumerate([3.0, 2.0, 1.0, 1.01, 1.0, 1.01]):
    ...     state, finding = signal.observe(state, step, loss)
    >>> finding.reason
    'the trend of 4 checks at 1.01 promises no more than 0 from the next 4'
    """

    source: ClassVar[Source] = "monitor"
    mode: Mode
    window: int = 8
    negligible: float = 0.01
    noise: float = 1.0
    deviations: float = 1.0

    def __post_init__(self) -> None:
        check(self, mode=MODE, window=whole(3), negligible=NOT_NEGATIVE, noise=NOT_NEGATIVE, deviations=POSITIVE)

    def begin(self) -> State:
        return {"first": None, "best": None, "values": []}

    def observe(self, state: State, step: int, value: float) -> tuple[State, Finding | None]:
        if not usable(value):
            return state, None
        # Within, higher is better.
        value = value if self.mode == "max" else -value
        first = value if state["first"] is None else state["first"]
        best = value if state["best"] is None else max(state["best"], value)
        values = [*state["values"][-(self.window - 1) :], value]
        state = {"first": first, "best": best, "values": values}
        if len(values) < self.window:
            return state, None
        slope = theil_sen(values, self.deviations)
        promise, spread = slope.high * self.window, noise(values, slope.value)
        bar = max(self.negligible * (best - first), self.noise * spread)
        if promise > bar or self._spikes(values, spread, bar):
            return state, None
        at = value if self.mode == "max" else -value
        reason = (
            f"the trend of {self.window} checks at {at:.4g} promises no more than {max(promise, 0.0):.4g} "
            f"from the next {self.window}"
        )
        return self.intervened(state), Finding("plateau", step, reason)

    def intervened(self, state: State) -> State:
        return {**state, "values": []}

    def _spikes(self, values: list[float], spread: float, bar: float) -> bool:
        """Whether the metric has jumped away from its best, or is on its way back."""
        recovery = theil_sen(values[-max(self.window // 2, 2) :], self.deviations).low * self.window
        return max(values) - values[-1] > _SPIKE * spread + bar or recovery > bar
