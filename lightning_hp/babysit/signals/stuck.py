"""Stuck above where it began: the first steps threw the weights where nothing is learned, as a far too high lr does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import ClassVar

from lightning_hp.babysit.settings import POSITIVE, check, whole
from lightning_hp.babysit.signals.robust import median, theil_sen, usable
from lightning_hp.babysit.signals.signal import Finding, Source, State

# The least overshoot, as a part of the first loss's size.
_NOTABLE = 0.1


@dataclass(frozen=True)
class Stuck:
    """Stuck when the training loss shot up at the beginning, and many steps later is no better than before the first step, or
    flat with less than half of its size gained.

    ReLUs that a far too high lr has killed never come back: the loss is finite and stays at what a constant answer gets, the
    logarithm of the number of classes. A lower lr does not revive them, a snapshot from before the first step does. Without
    the overshoot nothing is found: a loss that just doesn't move may be an lr that is too low.

    Args:
        window: losses that are looked at together, and passed over before the first look.
        overshoot: how far above the first loss the loss must have been, in standard deviations of the window's losses.

    Raises:
        ConfigError: a setting is out of its range.

    >>> signal, finding = Stuck(window=4), None
    >>> state = signal.begin()
    >>> for step, loss in enumerate([2.3, 41.0, 7.0, 2.4, 2.3, 2.31, 2.3, 2.32]):
    ...     state, finding = signal.observe(state, step, loss)
    >>> finding.reason
    'the loss is 2.305, and 2.3 before the first step'
    """

    source: ClassVar[Source] = "loss"
    window: int = 15
    overshoot: float = 8.0

    def __post_init__(self) -> None:
        check(self, window=whole(2), overshoot=POSITIVE)

    def begin(self) -> State:
        return {"first": None, "highest": None, "skip": self.window, "losses": []}

    def observe(self, state: State, step: int, value: float) -> tuple[State, Finding | None]:
        if not usable(value):
            return state, None
        first = value if state["first"] is None else state["first"]
        skip = state["skip"]
        highest = state["highest"] if state["highest"] is not None and (not skip or state["highest"] > value) else value
        losses = state["losses"] if skip else [*state["losses"], value]
        state = {"first": first, "highest": highest, "skip": max(skip - 1, 0), "losses": losses}
        if len(losses) < self.window:
            return state, None
        if not self._is_stuck(first, highest, losses):
            return {**state, "losses": []}, None
        reason = f"the loss is {median(losses):.4g}, and {first:.4g} before the first step"
        return self.intervened(state), Finding("stuck", step, reason)

    def passed(self, state: State, values: Sequence[float]) -> State | None:
        if state["skip"]:
            return None
        losses = [*state["losses"], *values]
        while len(losses) >= self.window:
            if self._is_stuck(state["first"], state["highest"], losses[: self.window]):
                return None
            losses = losses[self.window :]
        return {**state, "losses": losses}

    def intervened(self, state: State) -> State:
        return {"first": state["first"], "highest": None, "skip": self.window, "losses": []}

    def _is_stuck(self, first: float, highest: float, losses: list[float]) -> bool:
        # True of most fits, and a tenth of the work.
        if highest <= first + _NOTABLE * abs(first):
            return False
        least, most = _bounds_of_stdev(losses)
        if highest <= first + self.overshoot * least:
            return False
        level = median(losses)
        gained = first - level
        if gained > min(abs(first) / 2, highest - first) and gained > most:
            return False
        spread = stdev(losses)
        if highest <= first + max(self.overshoot * spread, _NOTABLE * abs(first)):
            return False
        if level + spread >= first:
            return True
        if gained > min(abs(first) / 2, highest - first):
            return False
        # First weights may do worse than a constant answer, to which dead ones come back.
        return -theil_sen(losses, 1.0).low * self.window <= spread


def _bounds_of_stdev(losses: list[float]) -> tuple[float, float]:
    """What the standard deviation surely lies between by the range alone; itself, it takes a hundred times as long."""
    among, spread = len(losses) - 1, max(losses) - min(losses)
    # All but two in the middle, and half at each end; a hundredth aside, so that rounding does not matter.
    return 0.99 * spread / math.sqrt(2 * among), 0.505 * spread * math.sqrt(len(losses) / among)
