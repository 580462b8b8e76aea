"""Signals: what a curve says about its training. Pure functions of a state and an observation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lightning_hp.trial import Mode


@dataclass(frozen=True)
class Plateau:
    """Settings of the plateau signal, in Lightning's words for them.

    Attributes:
        mode: whether the metric shall fall (``min``) or rise (``max``).
        patience: checks without improvement that are borne; the next one is a plateau.
        min_delta: least change that counts as an improvement, in the metric's own unit.
        cooldown: checks after an intervention that do not count.
    """

    mode: Mode
    patience: int
    min_delta: float
    cooldown: int


@dataclass(frozen=True)
class PlateauState:
    """What the signal remembers: best value, checks since, and checks of cooldown left."""

    best: float | None = None
    bad_checks: int = 0
    cooldown_left: int = 0


def observe(settings: Plateau, state: PlateauState, value: float) -> tuple[PlateauState, bool]:
    """Takes in one value of the metric.

    Args:
        settings: when to call it a plateau.
        state: from the last check.
        value: of the monitored metric; NaN and infinity count as no improvement.

    Returns:
        The new state, and whether this is a plateau. After one, counting starts anew, with the cooldown.

    >>> settings = Plateau(mode="min", patience=1, min_delta=0.0, cooldown=0)
    >>> state = PlateauState()
    >>> for loss in (1.0, 1.0, 1.0):
    ...     state, plateau = observe(settings, state, loss)
    >>> plateau
    True
    """
    if improved(settings, state.best, value):
        return PlateauState(value, 0, max(state.cooldown_left - 1, 0)), False
    if state.cooldown_left:
        return replace(state, bad_checks=0, cooldown_left=state.cooldown_left - 1), False
    if state.bad_checks < settings.patience:
        return replace(state, bad_checks=state.bad_checks + 1), False
    return intervened(settings, state), True


def intervened(settings: Plateau, state: PlateauState) -> PlateauState:
    """The state after somebody changed the learning rate: counting starts anew."""
    return replace(state, bad_checks=0, cooldown_left=settings.cooldown)


def improved(settings: Plateau, best: float | None, value: float) -> bool:
    # An infinity of the better kind would never be beaten.
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    gain = value - best if settings.mode == "max" else best - value
    return gain > settings.min_delta
