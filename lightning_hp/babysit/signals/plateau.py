"""Plateau by patience: the metric has not beaten its best in so many checks. Lightning's and torch's rule, in their words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from lightning_hp.babysit.settings import MODE, NOT_NEGATIVE, check, whole
from lightning_hp.babysit.signals.signal import Finding, Source, State
from lightning_hp.trial import Mode


@dataclass(frozen=True)
class Plateau:
    """A plateau when the metric has not improved on its best for longer than patience bears.

    It is the rule of ``ReduceLROnPlateau`` and ``EarlyStopping``: easy to foresee, but a spike's recovery counts as a
    plateau, and so does slow progress under noise; `TrendPlateau` sees through both.

    Args:
        mode: whether the metric shall fall (``"min"``) or rise (``"max"``).
        patience: checks without improvement that are borne; the next one is a plateau.
        min_delta: least change that counts as an improvement, in the metric's own unit.
        cooldown: checks after an intervention that do not count.

    Raises:
        ConfigError: a setting is out of its range.

    >>> signal = Plateau(mode="min", patience=1)
    >>> state = signal.begin()
    >>> for step, loss in enumerate((1.0, 1.0, 1.0)):
    ...     state, finding = signal.observe(state, step, loss)
    >>> finding.reason
    '1 has not beaten 1 in 2 checks'
    """

    source: ClassVar[Source] = "monitor"
    mode: Mode
    patience: int = 5
    min_delta: float = 1e-4
    cooldown: int = 0

    def __post_init__(self) -> None:
        check(self, mode=MODE, patience=whole(), min_delta=NOT_NEGATIVE, cooldown=whole())

    def begin(self) -> State:
        return {"best": None, "bad_checks": 0, "cooldown_left": 0}

    def observe(self, state: State, step: int, value: float) -> tuple[State, Finding | None]:
        best, bad, cooldown = state["best"], state["bad_checks"], state["cooldown_left"]
        if self.improved(best, value):
            return {"best": value, "bad_checks": 0, "cooldown_left": max(cooldown - 1, 0)}, None
        if cooldown:
            return {"best": best, "bad_checks": 0, "cooldown_left": cooldown - 1}, None
        if bad < self.patience:
            return {**state, "bad_checks": bad + 1}, None
        return self.intervened(state), Finding("plateau", step, self._reason(best, value))

    def intervened(self, state: State) -> State:
        return {**state, "bad_checks": 0, "cooldown_left": self.cooldown}

    def improved(self, best: float | None, value: float) -> bool:
        """Whether a value beats the best so far; what is not finite never does."""
        # An infinity of the better kind would never be beaten.
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        gain = value - best if self.mode == "max" else best - value
        return gain > self.min_delta

    def _reason(self, best: float | None, value: float) -> str:
        checks = f"{self.patience + 1} checks" if self.patience else "the last check"
        return f"{value:.4g} has not beaten {'any value' if best is None else f'{best:.4g}'} in {checks}"
