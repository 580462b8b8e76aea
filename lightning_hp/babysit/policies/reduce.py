"""The policy that only lowers: a plateau lowers lr and raises momentum, a divergence goes back and lowers lr."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_hp.babysit.actions import Action, Adjust, Knobs, Rollback, Snapshot, Stop
from lightning_hp.babysit.policies.moves import adjust, times_distance, times_lr
from lightning_hp.babysit.policies.policy import Decision, Look, State
from lightning_hp.babysit.settings import ABOVE_0_BELOW_1, ABOVE_0_TO_1, FROM_0_TO_BELOW_1, NOT_NEGATIVE, check
from lightning_hp.babysit.signals import Finding, GradientDrift, Kind, NotFinite, Oscillation, Plateau, Signal, Spike, Stuck
from lightning_hp.trial import is_better

START, GOOD = "start", "good"
GOING_BACK: tuple[Kind, ...] = ("divergence", "stuck", "spike", "drift")


@dataclass(frozen=True)
class Reduce:
    """Lowers lr when the fit stalls, as `ReduceLROnPlateau` does, and goes back when it diverges.

    A plateau lowers lr, and raises momentum one step along the reverse-log scale if that is wanted. A divergence goes back to
    the best check so far and lowers lr; from the same snapshot, each further one goes on from a lower lr. A fit that is stuck
    since its first steps goes back to its beginning.

    Args:
        factor: lr becomes lr * factor.
        min_lr: lr is never lowered below.
        momentum_factor: 1 - momentum becomes that times this: 0.5 takes 0.9 to 0.95, then 0.975. 1 leaves it alone.
        max_momentum: momentum is never raised above.

    Raises:
        ConfigError: a setting is out of its range.

    >>> policy = Reduce(factor=0.5)
    >>> look = Look(0, 0, None, (), (Knobs(0.1, 0.9),), 0, 10, 20)
    >>> state, decision = policy.decide(policy.begin(), look)
    >>> decision.actions
    [Snapshot(name='start')]
    >>> finding = Finding("divergence", 3, "the loss is nan")
    >>> policy.decide(state, Look(0, 4, None, (finding,), (Knobs(0.1, 0.9),), 0, 10, 20))[1].actions
    [Rollback(name='start', keep_moves=True), Adjust(moves=(Move(lr_factor=0.5, momentum_factor=1.0),))]
    """

    factor: float = 0.2
    min_lr: float = 0.0
    momentum_factor: float = 1.0
    max_momentum: float = 0.99

    def __post_init__(self) -> None:
        check(self, factor=ABOVE_0_BELOW_1, min_lr=NOT_NEGATIVE, momentum_factor=ABOVE_0_TO_1, max_momentum=FROM_0_TO_BELOW_1)

    def signals(self, plateau: Plateau) -> Sequence[Signal]:
        divergence = (NotFinite("monitor"), NotFinite("loss"), Spike(), Stuck(), GradientDrift())
        return (plateau, Oscillation(plateau.mode), *divergence)

    def begin(self) -> State:
        # Where to go back to (a snapshot's name), the best value since, and the step of the last intervention.
        return {"back": None, "best": None, "acted": 0}

    def decide(self, state: State, look: Look) -> tuple[State, Decision | None]:
        if state["back"] is None:
            return {**state, "back": START}, Decision([Snapshot(START)], "before the first step")
        findings = {finding.kind: finding for finding in look.findings if finding.step >= state["acted"]}
        for kind in GOING_BACK:
            if kind in findings:
                return self._go_back(state, look, findings[kind])
        return self._go_on(state, look, findings)

    def _go_back(self, state: State, look: Look, finding: Finding) -> tuple[State, Decision | None]:
        if not look.interventions_left:
            beyond_help = finding.kind in ("divergence", "stuck")
            return state, Decision([Stop(diverged=True)], finding.reason) if beyond_help else None
        factor = self.factor
        if finding.kind == "stuck":
            state = {**state, "back": START, "best": None}
            # An lr that kills the network at once is far too high: the next lower one would still cripple it.
            factor = self.factor**2
        lower = self.calmed(look.knobs, factor)
        actions: list[Action] = [Rollback(state["back"]), *([lower] if lower else [])]
        return {**state, "acted": look.step}, Decision(actions, finding.reason)

    def _go_on(self, state: State, look: Look, findings: Mapping[Kind, Finding]) -> tuple[State, Decision | None]:
        state, actions, reasons = keep_best(state, look, look.value)
        finding = findings.get("plateau") or findings.get("oscillation")
        if finding and look.interventions_left:
            move = self.lowered(look.knobs) if finding.kind == "plateau" else self.calmed(look.knobs, self.factor)
            if move:
                actions.append(move)
                reasons.append(finding.reason)
                state = {**state, "acted": look.step}
        return state, Decision(actions, "; ".join(reasons)) if actions else None

    def lowered(self, groups: Sequence[Knobs]) -> Adjust | None:
        """One move per parameter group; a group at its bounds, or with momentum off (0), gets a smaller one or none.

        >>> Reduce(factor=0.5, min_lr=0.06, momentum_factor=0.5).lowered([Knobs(0.1, 0.9)])
        Adjust(moves=(Move(lr_factor=0.6, momentum_factor=0.5),))
        """
        # A group without an lr rests as a whole.
        momenta = times_distance(groups, self.momentum_factor, self.max_momentum)
        momenta = [factor if 0 < group.lr < math.inf else 1.0 for group, factor in zip(groups, momenta, strict=True)]
        return adjust(times_lr(groups, self.factor, self.min_lr), momenta)

    def calmed(self, groups: Sequence[Knobs], factor: float) -> Adjust | None:
        """Lower lr alone: more momentum would prolong an oscillation."""
        return adjust(times_lr(groups, factor, self.min_lr), [1.0] * len(groups))


def keep_best(state: State, look: Look, value: float | None) -> tuple[State, list[Action], list[str]]:
    """A snapshot at each check that is better than all since the one to go back to."""
    if value is None or not math.isfinite(value) or not is_better(value, state["best"], look.mode):
        return state, [], []
    return {**state, "best": value, "back": GOOD}, [Snapshot(GOOD)], [f"best so far: {value:.4g}"]
