"""A probe as plain data: branches from one snapshot, each a move that is tried for a while, and the best of them so far.

A move is two whole numbers: steps up the log scale of lr, and steps up the reverse-log scale of momentum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from lightning_hp.babysit.actions import Knobs
from lightning_hp.trial import Mode

Steps: TypeAlias = list[int]
Branches: TypeAlias = dict[str, Any]
STAY, LR_UP, LR_DOWN, MOMENTUM_UP, MOMENTUM_DOWN = [0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]

# Values of which the difference is at most such a part tie.
_TIE = 0.05


def begin(base: str, queue: list[Steps], groups: Sequence[Knobs], checks: int, step: int) -> Branches:
    """The probe at its start, in the branch without a change.

    Args:
        base: name of the snapshot that all branches start from, which is how the fit stands.
        queue: the moves to try after it.
        groups: where lr and momentum stand.
        checks: made so far.
        step: optimizer steps made so far.
    """
    started = {"base": base, "queue": queue, "running": STAY, "checks": checks, "step": step}
    started["groups"] = [[group.lr, group.momentum] for group in groups]
    return {**started, "leader": None, "best": None, "lost": 0, "edge": False, "early": step == 0}


def groups(probe: Branches) -> list[Knobs]:
    """Where lr and momentum stood in the snapshot that all branches start from."""
    return [Knobs(lr, momentum) for lr, momentum in probe["groups"]]


def is_complete(probe: Branches, checks: int, step: int, length: int) -> bool:
    """Whether the running branch has had its checks; one that began between checks, after a divergence, may lack half a one."""
    return bool(step - probe["step"] >= (length - 0.5) * step / checks)


def ended(probe: Branches, value: float | None, checks: int, mode: Mode) -> tuple[Branches, bool]:
    """The probe when the branch that runs has ended, and whether that branch leads now.

    Args:
        probe: as it was.
        value: of the metric at the branch's end; None if it has diverged.
        checks: made so far.
        mode: whether the metric shall fall or rise.
    """
    leads = value is not None and math.isfinite(value) and _leads(probe, value, mode)
    # Of each two branches, one is lost.
    wasted = checks - probe["checks"] if probe["leader"] is not None or not leads else 0
    after = {**probe, "lost": probe["lost"] + wasted}
    if leads:
        after |= {"leader": probe["running"], "best": value}
    elif probe["running"][0] > 0:
        after |= {"edge": value is None or not math.isfinite(value) or not ties(value, probe["best"])}
    return {**after, "queue": _queue(after, leads)}, leads


def next_branch(probe: Branches, checks: int, step: int) -> Branches:
    """The probe with the first of its queue running."""
    first, *rest = probe["queue"]
    return {**probe, "queue": rest, "running": first, "checks": checks, "step": step}


def better(value: float, than: float, mode: Mode) -> bool:
    return value > than if mode == "max" else value < than


def ties(value: float, other: float | None) -> bool:
    """Whether the difference is so small that it says little."""
    return other is not None and abs(value - other) <= _TIE * abs(other)


def _leads(probe: Branches, value: float, mode: Mode) -> bool:
    if probe["best"] is None:
        return True
    if better(value, probe["best"], mode):
        # What a higher lr hardly gains in the first checks, it loses later.
        return not (probe["early"] and probe["running"][0] > 0 and ties(value, probe["best"]))
    # Beyond an edge, where a higher lr is far worse, a dead network and one about to learn differ little for a while.
    return bool(probe["edge"]) and probe["running"][0] < 0 and ties(value, probe["best"])


def _queue(probe: Branches, leads: bool) -> list[Steps]:
    running, queue = probe["running"], probe["queue"]
    if probe["leader"] is None:
        # All have diverged: only lower lrs may do.
        return [move for move in queue if move[0] < 0] or [LR_DOWN if running[0] >= 0 else further(running)]
    if probe["early"] and not leads and running[0] > 0 and not probe["edge"]:
        return [further(running), *queue]
    if leads and running != STAY:
        # The optimum lies further on, or between this one and those before.
        return [further(running)]
    return list(queue)


def further(move: Steps) -> Steps:
    """One more step in the same direction."""
    return [steps + (steps > 0) - (steps < 0) for steps in move]
