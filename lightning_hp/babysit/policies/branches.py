"""A probe as plain data: branches from one snapshot, each a move that is tried for a while, and the best of them so far.

A move is two numbers: steps up the log scale of lr, and steps up the reverse-log scale of momentum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from lightning_hp.babysit.actions import Knobs
from lightning_hp.trial import Mode, is_better

Steps: TypeAlias = list[float]
Branches: TypeAlias = dict[str, Any]
STAY: Steps = [0, 0]
LR_UP: Steps = [1, 0]
LR_HALF_UP: Steps = [0.5, 0]
LR_DOWN: Steps = [-1, 0]
MOMENTUM_UP: Steps = [0, 1]
MOMENTUM_DOWN: Steps = [0, -1]

# Values of which the difference is at most such a part tie.
_TIE = 0.05
# Steps of lr by which the best one is below what the first checks say.
_LEAN = 0.25


def begin(base: str, queue: list[Steps], groups: Sequence[Knobs], checks: int, step: int, bar: float | None = None) -> Branches:
    """The probe at its start, in the branch without a change.

    Args:
        base: name of the snapshot that all branches start from, which is how the fit stands.
        queue: the moves to try after it.
        groups: where lr and momentum stand.
        checks: made so far.
        step: optimizer steps made so far.
        bar: what a higher lr has to beat to be preferred to no change; None is what is reached without.
    """
    started = {"base": base, "queue": queue, "running": STAY, "checks": checks, "step": step, "bar": bar}
    started["groups"] = [[group.lr, group.momentum] for group in groups]
    counts = {"kept": 0, "lost": 0, "tried": [], "early": step == 0}
    return {**started, "leader": None, "best": None, "from": STAY, **counts}


def resumed(probe: Branches, value: float, checks: int, lost: int, step: int) -> Branches:
    """The first probe once more, with an lr below all that it has tried, against what its winner has come to since.

    Args:
        probe: as it ended.
        value: of the metric now.
        checks: made so far.
        lost: of these, on moves that did not win.
        step: optimizer steps made so far.
    """
    leader = probe["leader"]
    lower = [min(move[0] for move, _ in probe["tried"]) - 1, leader[1]]
    # What the winner reached in the probe is not what stands against the others now.
    tried = [each for each in probe["tried"] if each[0] != leader]
    again = {"queue": [], "running": lower, "checks": checks, "step": step, "best": value, "from": leader}
    return {**probe, **again, "kept": checks - lost, "lost": 0, "tried": tried}


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
    value = value if value is not None and math.isfinite(value) else None
    spent = checks - probe["checks"]
    after = {**probe, "tried": [*probe["tried"], [probe["running"], value]]}
    if value is None and _discredits(probe):
        after |= {"leader": None, "best": None, "kept": 0, "lost": probe["lost"] + probe["kept"] + spent}
    elif value is not None and _leads(probe, value, mode):
        after |= {"leader": probe["running"], "best": value, "kept": spent, "lost": probe["lost"] + probe["kept"]}
    else:
        after |= {"lost": probe["lost"] + spent}
    return {**after, "queue": _queue(probe, after, value, mode)}, after["leader"] == probe["running"]


def next_branch(probe: Branches, checks: int, step: int) -> Branches:
    """The probe with the first of its queue running."""
    first, *rest = probe["queue"]
    return {**probe, "queue": rest, "running": first, "checks": checks, "step": step}


def offset(probe: Branches) -> float:
    """How many steps above the leader's lr the best one lies, by a parabola through the leader and its two neighbours.

    What gains most in the first checks is too high for long, so it is a quarter of a step below the parabola's lowest point,
    and at most half a step below the leader, as where the next higher lr has diverged. 0 where a neighbour was not tried.
    """
    lr, momentum = probe["leader"]
    tried = {move[0]: value for move, value in probe["tried"] if move[1] == momentum}
    if any(steps not in tried for steps in (lr - 1, lr, lr + 1)):
        return 0.0
    below, above = (math.inf if value is None else abs(value - probe["best"]) for value in (tried[lr - 1], tried[lr + 1]))
    if math.isinf(above):
        return -0.5
    lowest = (below - above) / (below + above) / 2 if below + above else 0.0
    return max(lowest - _LEAN, -0.5)


def ties(value: float, other: float | None) -> bool:
    """Whether the difference is so small that it says little."""
    return other is not None and abs(value - other) <= _TIE * abs(other)


def _leads(probe: Branches, value: float, mode: Mode) -> bool:
    if is_better(value, probe["best"], mode):
        return True
    # What a higher lr gains, its noise hides, until lr is lowered again.
    raised = probe["running"][0] > 0 and probe["leader"] == STAY
    return raised and probe["bar"] is not None and is_better(value, probe["bar"], mode)


def _discredits(probe: Branches) -> bool:
    """Whether the branch that has diverged shows that the leader's value is chance: at a higher lr, it was as unstable."""
    return probe["early"] and probe["leader"] is not None and probe["running"][0] < probe["leader"][0]


def _queue(before: Branches, probe: Branches, value: float | None, mode: Mode) -> list[Steps]:
    """What is to be tried yet, after a branch that ended with a value."""
    running, queue, early = probe["running"], probe["queue"], probe["early"]
    if probe["leader"] is None:
        # All have diverged: only lower lrs may do.
        return [move for move in queue if move[0] < 0] or [LR_DOWN if running[0] >= 0 else further(running)]
    if probe["leader"] != running:
        level = early and value is not None and ties(value, probe["best"])
        if level and running[0] > 0:
            return [further(running), *queue]
        # One step lower, a network that is about to learn may differ little from a dead one.
        return [further(running)] if level and running == [probe["leader"][0] - 1, 0] else list(queue)
    if running[0] < 0 and not early:
        # In mid-fit a lower lr nearly always looks better for a while, since it calms the noise.
        return []
    if running == STAY:
        return list(queue)
    # The optimum lies further on, or between this one and those before; no further where only the bar was beaten.
    gains = is_better(probe["best"], before["best"], mode)
    return [further(running)] if gains else []


def further(move: Steps) -> Steps:
    """One more step in the same direction."""
    return [steps + (steps > 0) - (steps < 0) for steps in move]
