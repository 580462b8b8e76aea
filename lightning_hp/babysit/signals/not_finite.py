"""Divergence that is beyond doubt: a value is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_hp.babysit.settings import Rule, check
from lightning_hp.babysit.signals.signal import Finding, Source, State

_NAMES: dict[Source, str] = {"monitor": "metric", "loss": "loss", "gradient_norm": "gradient's norm"}


@dataclass(frozen=True)
class NotFinite:
    """A divergence at each value that is NaN or infinite.

    Args:
        source: ``"monitor"`` or ``"loss"``. Gradient norms overflow now and then in mixed precision, where the loss scale takes
            care of it.

    >>> NotFinite("loss").observe({}, 7, float("nan"))[1].reason
    'the loss is nan'
    """

    source: Source = "loss"

    def __post_init__(self) -> None:
        check(self, source=Rule("'monitor', 'loss' or 'gradient_norm'", tuple(_NAMES).__contains__))

    def begin(self) -> State:
        return {}

    def observe(self, state: State, step: int, value: float) -> tuple[State, Finding | None]:
        if math.isfinite(value):
            return state, None
        return state, Finding("divergence", step, f"the {_NAMES[self.source]} is {value}")

    def passed(self, state: State, values: Sequence[float]) -> State | None:
        return state

    def intervened(self, state: State) -> State:
        return state
