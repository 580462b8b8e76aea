"""The policy that tries: hill climbing in time, by short branches from a snapshot, of which the best goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_hp.babysit.actions import Action, Adjust, Knobs, Rollback, Snapshot, Stop
from lightning_hp.babysit.policies import branches
from lightning_hp.babysit.policies.branches import LR_DOWN, LR_HALF_UP, LR_UP, MOMENTUM_DOWN, MOMENTUM_UP, STAY, Branches, Steps
from lightning_hp.babysit.policies.moves import adjust, times_distance, times_lr
from lightning_hp.babysit.policies.policy import Decision, Look, State
from lightning_hp.babysit.policies.reduce import GOING_BACK, GOOD, START, keep_best
from lightning_hp.babysit.settings import ABOVE_0_TO_1, ABOVE_1, FROM_0_TO_1, FROM_0_TO_BELOW_1, NOT_NEGATIVE, check, whole
from lightning_hp.babysit.signals import (
    Finding,
    Kind,
    NotFinite,
    Oscillation,
    Plateau,
    Signal,
    Slow,
    Spike,
    Stuck,
    TrendPlateau,
)
from lightning_hp.trial import is_better

BASE, LEADER = "base", "leader"
# Which moves a finding suggests, most likely first.
_SUGGESTED: dict[str, list[Steps]] = {"slow": [LR_HALF_UP], "oscillation": [LR_DOWN], "plateau": [LR_DOWN, LR_HALF_UP]}
# Of a fit whose end is unknown, so many checks count as its length until it has made more.
_OPEN_END = 10
# An lr that was raised is on trial for so many checks, in which it may go without a new best for fewer than so many.
_TRIAL, _PATIENCE = 8, 2
# So many steps below the first probe's winner, the best lr is worth a start afresh.
_TOO_HIGH = -0.25
# After so many checks without progress the first probe is resumed, or a start afresh given up.
_STALL = 3
# A branch of the first probe may be as short as an epoch of few batches: so many losses have to tell that it is stuck.
_FIRST_LOSSES = 10


@dataclass(frozen=True)
class Probe:
    """Finds the learning rate while training: it tries neighbouring ones for a short while each, and goes on with the best.

    Once at the beginning, and then on a plateau, on slow progress and on oscillation, it takes a snapshot, trains on for a
    few checks, goes back, tries lr * step or lr / step for as long, and so on. A direction that wins is tried further at
    once. The winner goes on from its end, so that only the work of the others is lost; all of it comes out of the same fit's
    epochs, so probes are few: what they may lose is bounded, after a probe without a winner the next one has to wait twice as
    long, and in the last part of the fit lr is lowered in a few steps instead, as schedules do.

    What the next few checks reward is not always what the fit needs. So after the first probe lr is set a little lower than
    where a parabola through the best and its neighbours has its lowest point, and if that is clearly below the best, the fit
    starts afresh, but gives way to the best again if it learns nothing in three checks; a lower lr that diverges there
    takes the win from a higher one, which was lucky; and a winner that stops learning as soon as it has won is compared with
    lower ones, from before the first step. Later on a higher lr, whose noise hides what it gains, wins by any gain at all, but
    is on trial, and is taken back if the metric gets worse again; and where lr is found too high, the lower ones start from
    the best check, before the harm.

    Args:
        step: what lr is multiplied or divided by; where it is raised later on, by the square root.
        length: checks for which each move is tried.
        share: part of the fit's checks that may be lost on moves that did not win.
        anneal: last part of the fit, in which lr is lowered; not where a schedule moves it, or the fit's end is unknown.
        final: what lr is multiplied by in all until the fit's end.
        steps: how many steps it is lowered in.
        wait: checks from one probe to the next, doubled after each without a winner.
        min_lr: lr is never lowered below.
        momentum_factor: what a step of momentum multiplies 1 - momentum by; 1 leaves momentum alone.
        max_momentum: momentum is never raised above.

    Raises:
        ConfigError: a setting is out of its range.

    >>> policy, groups = Probe(), (Knobs(0.1, 0.9),)
    >>> state, decision = policy.decide(policy.begin(), Look(0, 0, None, (), groups, 0, 10, 20))
    >>> state, decision = policy.decide(state, Look(1, 8, 2.5, (), groups, 1, 9, 20))
    >>> decision.actions[1:]
    [Rollback(name='start', keep_moves=False), Adjust(moves=(Move(lr_factor=4.0, momentum_factor=1.0),))]
    """

    step: float = 4.0
    length: int = 1
    share: float = 1 / 3
    anneal: float = 0.3
    final: float = 0.02
    steps: int = 4
    wait: int = 2
    min_lr: float = 0.0
    momentum_factor: float = 1.0
    max_momentum: float = 0.99

    def __post_init__(self) -> None:
        check(
            self,
            step=ABOVE_1,
            length=whole(1),
            share=FROM_0_TO_1,
            anneal=FROM_0_TO_1,
            final=ABOVE_0_TO_1,
            min_lr=NOT_NEGATIVE,
            momentum_factor=ABOVE_0_TO_1,
            steps=whole(1),
            wait=whole(1),
            max_momentum=FROM_0_TO_BELOW_1,
        )

    def signals(self, plateau: Plateau) -> Sequence[Signal]:
        mode = plateau.mode
        divergence = (NotFinite("monitor"), NotFinite("loss"), Spike(), Stuck(window=_FIRST_LOSSES))
        return (plateau, TrendPlateau(mode), Slow(mode), Oscillation(mode), *divergence)

    def begin(self) -> State:
        returns = {"back": None, "best": None, "acted": 0}
        waits = {"wait": self.wait, "next": 0, "lost": 0}
        probes = {"probe": None, "trial": None, "first": None, "afresh": None}
        return {**returns, **waits, **probes, "lrs": None, "scheduled": False, "lowered": 0}

    def decide(self, state: State, look: Look) -> tuple[State, Decision | None]:
        if state["back"] is None:
            return self._start(state, look)
        state = _with_schedule(state, look)
        findings = {finding.kind: finding for finding in look.findings if finding.step >= state["acted"]}
        bad = next((findings[kind] for kind in GOING_BACK if kind in findings), None)
        if state["probe"] and (
            not look.interventions_left or (bad and bad.kind == "stuck" and state["probe"]["base"] != START)
        ):
            # No branch can end any more, or the snapshot that all began from is beyond help.
            state = {**state, "probe": None}
        if state["probe"]:
            state, decision = self._probing(state, look, bad)
        elif bad:
            state, decision = self._go_back(state, look, bad)
        else:
            state, decision = self._go_on(state, look, findings)
        if decision and any(isinstance(action, Adjust | Rollback) for action in decision.actions):
            state = {**state, "acted": look.step, "lrs": None}
        return state, decision

    def _start(self, state: State, look: Look) -> tuple[State, Decision]:
        state = {**state, "back": START, "lrs": [group.lr for group in look.knobs]}
        if not self._affords(state, look, [LR_UP]):
            return state, Decision([Snapshot(START)], "before the first step")
        queue = [LR_UP, LR_DOWN] if self._affords(state, look, [LR_UP, LR_DOWN]) else [LR_UP]
        probe = branches.begin(START, queue, look.knobs, look.checks, look.step)
        return {**state, "probe": probe}, Decision([Snapshot(START)], "the first probe begins")

    def _probing(self, state: State, look: Look, bad: Finding | None) -> tuple[State, Decision | None]:
        """One look amid a probe: nothing, or the next branch, or the probe's end."""
        probe: Branches = state["probe"]
        if bad is None and (look.value is None or not branches.is_complete(probe, look.checks, look.step, self.length)):
            return state, None
        value = None if bad or look.value is None else look.value
        probe, leads = branches.ended(_without_warm_up(probe, look), value, look.checks, look.mode)
        seen = bad.reason if bad else f"{value:.4g}"
        why = f"{self._named(state['probe']['running'])}: {seen}"
        over = {**state, "probe": probe}
        if probe["queue"] and self._affords(over, look, probe["queue"][:1]):
            return self._next_branch(over, look, probe, leads, why)
        return self._end(over, look, probe, leads, why)

    def _next_branch(self, state: State, look: Look, probe: Branches, leads: bool, why: str) -> tuple[State, Decision]:
        probe = branches.next_branch(probe, look.checks, look.step)
        actions: list[Action] = [Snapshot(LEADER)] if leads else []
        actions += [Rollback(probe["base"], keep_moves=False), *self._move(probe["running"], branches.groups(probe))]
        return {**state, "probe": probe}, Decision(actions, f"{why}; now {self._named(probe['running'])}")

    def _end(self, state: State, look: Look, probe: Branches, leads: bool, why: str) -> tuple[State, Decision | None]:
        moved = probe["leader"] not in (None, probe["from"])
        wait = self.wait if moved else state["wait"] * 2
        state = {
            **state,
            "probe": None,
            "lost": state["lost"] + probe["lost"],
            "wait": wait,
            "next": look.checks + wait,
            "last": look.checks,
        }
        if probe["leader"] is None:
            lower = branches.further(probe["running"]) if probe["running"][0] < 0 else LR_DOWN
            actions: list[Action] = [Rollback(probe["base"], keep_moves=False), *self._move(lower, branches.groups(probe))]
            return state, Decision(actions, f"{why}; every branch has diverged")
        if probe["early"] and probe["from"] == STAY:
            state = {**state, "first": {"probe": probe, "value": probe["best"], "checks": 0}}
        why = f"{why}; {self._named(probe['leader'])} goes on with {probe['best']:.4g}"
        state, afresh = self._afresh(state, look, probe)
        if afresh:
            return state, Decision(afresh, f"{why}, from before the first step, at a lower lr")
        actions = [] if leads else [Rollback(LEADER, keep_moves=False)]
        if moved:
            # Where to go back to if the move does not hold, in the end.
            raised = min(probe["leader"][0], 1)
            state = {**state, "best": None, "trial": [0, 0, raised] if raised > 0 else None}
        state, kept, _ = keep_best(state, look, probe["best"])
        actions += kept
        if probe["early"]:
            actions += self._offset(probe)
        return state, Decision(actions, why)

    def _offset(self, probe: Branches) -> list[Adjust]:
        """From the winner's lr to the best."""
        led = [Knobs(group.lr * self.step ** probe["leader"][0], group.momentum) for group in branches.groups(probe)]
        return self._move([branches.offset(probe), 0], led)

    def _afresh(self, state: State, look: Look, probe: Branches) -> tuple[State, list[Action]]:
        """From before the first step with the best lr, where the winner had a higher one: what that does to weights stays."""
        steps, momentum = probe["leader"]
        offset, lost = branches.offset(probe), state["lost"] + probe["kept"]
        if not probe["early"] or offset > _TOO_HIGH or lost > self.share * _length(look):
            return state, []
        best = self._move([steps + offset, momentum], branches.groups(probe))
        afresh = {"probe": probe, "checks": 0}
        state = {**state, "lost": lost, "back": START, "best": None, "trial": None, "afresh": afresh}
        return state, [Rollback(START, keep_moves=False), *best]

    def _go_back(self, state: State, look: Look, finding: Finding) -> tuple[State, Decision | None]:
        if not look.interventions_left:
            beyond_help = finding.kind in ("divergence", "stuck")
            return state, Decision([Stop(diverged=True)], finding.reason) if beyond_help else None
        actions: list[Action] = [Rollback(state["back"]), *self._move(LR_DOWN, look.knobs)]
        state = {**state, "trial": None}
        if finding.kind != "stuck":
            return state, Decision(actions, finding.reason)
        state = {**state, "back": START, "best": None, "probe": None, "first": None, "afresh": None}
        return state, Decision([Rollback(START), *actions[1:]], finding.reason)

    def _go_on(self, state: State, look: Look, findings: dict[Kind, Finding]) -> tuple[State, Decision | None]:
        if look.value is None:
            return state, None
        state, fails = self._tried(state, look)
        if fails:
            back: list[Action] = [Rollback(GOOD, keep_moves=False), *self._move(fails, look.knobs)]
            return state, Decision(back, f"{look.value:.4g} is worse than before lr was raised")
        state, stalls = self._stalls(state, look, look.value)
        if stalls:
            return self._resume(state, look, look.value)
        state, idle = self._learns_nothing(state, look, look.value)
        if idle:
            return self._give_up(state, look, look.value)
        state, actions, reasons = keep_best(state, look, look.value)
        if self._is_annealing(state, look):
            state, lower = self._annealed(state, look)
            if lower:
                return state, Decision([*actions, lower], "; ".join([*reasons, "the fit nears its end"]))
            return state, Decision(actions, "; ".join(reasons)) if actions else None
        finding = next((findings[kind] for kind in ("oscillation", "plateau", "slow") if kind in findings), None)
        if finding is None or look.checks < state["next"]:
            return state, Decision(actions, "; ".join(reasons)) if actions else None
        queue = [*_SUGGESTED[finding.kind], *self._momentum_moves(look.knobs)]
        while queue and not self._affords(state, look, queue):
            queue = queue[:-1]
        if not queue:
            return state, Decision(actions, "; ".join(reasons)) if actions else None
        # Where lr is too high the last checks may have done harm.
        harmed = finding.kind != "slow" and state["back"] == GOOD and not is_better(look.value, state["best"], look.mode)
        base = GOOD if harmed and look.value != state["best"] else BASE
        actions += [Snapshot(BASE)] if base == BASE else []
        bar = look.value if finding.kind == "slow" else None
        probe = branches.begin(base, queue, look.knobs, look.checks, look.step, bar)
        return {**state, "probe": probe}, Decision(actions, f"{finding.reason}; a probe begins") if actions else None

    def _stalls(self, state: State, look: Look, value: float) -> tuple[State, bool]:
        """Whether the first probe's winner has stopped learning as soon as it had won: it has thrown the weights far off."""
        first = state["first"]
        # All checks up to now may come to be lost.
        if first is None or state["scheduled"] or look.checks >= self.share * _length(look):
            return {**state, "first": None}, False
        if is_better(value, first["value"], look.mode) and not branches.ties(value, first["value"]):
            return {**state, "first": {**first, "value": value, "checks": 0}}, False
        checks = first["checks"] + 1
        return {**state, "first": {**first, "checks": checks}}, checks == _STALL and self._affords(state, look, [LR_DOWN])

    def _resume(self, state: State, look: Look, value: float) -> tuple[State, Decision]:
        """The first probe goes on, with lower lrs."""
        probe = branches.resumed(state["first"]["probe"], value, look.checks, state["lost"], look.step)
        actions: list[Action] = [Snapshot(LEADER), Rollback(START, keep_moves=False)]
        actions += self._move(probe["running"], branches.groups(probe))
        reason = f"nothing gained since the first probe; now {self._named(probe['running'])} from before the first step"
        return {**state, "first": None, "afresh": None, "probe": probe}, Decision(actions, reason)

    def _learns_nothing(self, state: State, look: Look, value: float) -> tuple[State, bool]:
        """Whether a start afresh has learned nothing: it came no further in several checks than no change did in one."""
        afresh = state["afresh"]
        unchanged = next((value for move, value in afresh["probe"]["tried"] if move == STAY), None) if afresh else None
        learns = unchanged is None or (is_better(value, unchanged, look.mode) and not branches.ties(value, unchanged))
        if afresh is None or learns or not look.interventions_left:
            return {**state, "afresh": None}, False
        checks = afresh["checks"] + 1
        return {**state, "afresh": {**afresh, "checks": checks}}, checks == _STALL

    def _give_up(self, state: State, look: Look, value: float) -> tuple[State, Decision]:
        """Back from a start afresh to the first probe's winner."""
        probe = state["afresh"]["probe"]
        # The winner's own checks count as lost since then, and stand for those that are.
        state = {**state, "first": None, "afresh": None, "best": None}
        state, kept, _ = keep_best(state, look, probe["best"])
        reason = f"{value:.4g} after {_STALL} checks from before the first step; back to {probe['best']:.4g}"
        return state, Decision([Rollback(LEADER, keep_moves=False), *kept, *self._offset(probe)], reason)

    def _tried(self, state: State, look: Look) -> tuple[State, Steps | None]:
        """The way back from an lr that was raised and does not hold: it won its probe, but then the metric gets worse again."""
        if state["trial"] is None or look.value is None or not look.interventions_left:
            return {**state, "trial": None}, None
        checks, bad, raised = state["trial"]
        better = state["best"] is None or is_better(look.value, state["best"], look.mode)
        trial = [checks + 1, 0 if better else bad + (not branches.ties(look.value, state["best"])), raised]
        if trial[1] < _PATIENCE or state["lost"] + _PATIENCE > self.share * _length(look):
            return {**state, "trial": trial if trial[0] < _TRIAL else None}, None
        return {**state, "trial": None, "lost": state["lost"] + _PATIENCE}, [-raised, 0]

    def _momentum_moves(self, groups: Sequence[Knobs]) -> list[Steps]:
        has_momentum = self.momentum_factor < 1.0 and any(group.momentum for group in groups)
        return [MOMENTUM_UP, MOMENTUM_DOWN] if has_momentum else []

    def _affords(self, state: State, look: Look, queue: list[Steps]) -> bool:
        """Whether these branches, all but one lost, fit into what may be lost, into the fit, and into the interventions."""
        probe = state["probe"]
        checks = len(queue) * self.length
        lost = state["lost"] + (probe["lost"] if probe else 0) + checks
        length = _length(look)
        if look.checks_left is not None:
            staying = 0 if probe else self.length
            # After the last check there is no going back any more.
            if checks + staying > look.checks_left - max(self._anneal_checks(length), 1):
                return False
        # The probe's end, one divergence, and the steps that lr is lowered in at the end.
        reserve = 2 + (self.steps if look.checks_left is not None and self.anneal else 0)
        return lost <= self.share * length and look.interventions_left >= len(queue) + reserve

    def _anneal_checks(self, length: int) -> int:
        return round(self.anneal * length)

    def _is_annealing(self, state: State, look: Look) -> bool:
        if look.checks_left is None or state["scheduled"] or not look.checks_left:
            return False
        return look.checks_left <= self._anneal_checks(look.checks + look.checks_left)

    def _annealed(self, state: State, look: Look) -> tuple[State, Adjust | None]:
        """lr lowered by as many of the steps as are due by now."""
        assert look.checks_left is not None
        span = self._anneal_checks(look.checks + look.checks_left)
        due = min(self.steps, 1 + (span - look.checks_left) * self.steps // span)
        if due <= state["lowered"] or not look.interventions_left:
            return state, None
        factor = self.final ** ((due - state["lowered"]) / self.steps)
        return {**state, "lowered": due}, self._adjust(factor, 1.0, look.knobs)

    def _move(self, steps: Steps, groups: Sequence[Knobs]) -> list[Adjust]:
        moved = self._adjust(self.step ** steps[0], self.momentum_factor ** steps[1], groups)
        return [moved] if moved else []

    def _adjust(self, lr_factor: float, momentum_factor: float, groups: Sequence[Knobs]) -> Adjust | None:
        return adjust(
            times_lr(groups, lr_factor, self.min_lr),
            times_distance(groups, momentum_factor, self.max_momentum),
        )

    def _named(self, steps: Steps) -> str:
        parts = []
        if steps[0]:
            parts.append(f"lr x{self.step ** steps[0]:.4g}")
        if steps[1]:
            parts.append(f"1 - momentum x{self.momentum_factor ** steps[1]:.4g}")
        return ", ".join(parts) or "no change"


def _length(look: Look) -> int:
    """Of the fit, in checks."""
    return max(look.checks, _OPEN_END) if look.checks_left is None else look.checks + look.checks_left


def _with_schedule(state: State, look: Look) -> State:
    """Whether a schedule moves lr: it differs from the last look's with no move between."""
    lrs = [group.lr for group in look.knobs]
    moved = state["lrs"] is not None and lrs != state["lrs"]
    return {**state, "lrs": lrs, "scheduled": state["scheduled"] or moved}


def _without_warm_up(probe: Branches, look: Look) -> Branches:
    """The probe without higher lrs, if lr rises by itself: what a warm-up's low lr gains by them says nothing of its peak."""
    risen = any(now.lr > before.lr * 1.01 for now, before in zip(look.knobs, branches.groups(probe), strict=False))
    if probe["running"] != STAY or not risen:
        return probe
    return {**probe, "queue": [move for move in probe["queue"] if move[0] <= 0]}
