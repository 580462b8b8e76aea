"""Signals and a policy at work on one fit: values in, decisions out. It knows nothing of Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from lightning_hp.babysit.actions import Action, Adjust, Knobs, Rollback, Skip
from lightning_hp.babysit.policies.policy import Decision, Look, Policy
from lightning_hp.babysit.signals import Finding, Quick, Signal, Source
from lightning_hp.babysit.signals.robust import all_usable
from lightning_hp.trial import Mode


def intervenes(action: Action) -> bool:
    """Whether an action changes what training does, and counts."""
    return isinstance(action, (Adjust, Rollback, Skip))


class Control:
    """What has been seen of a fit and not yet been decided on, and the states of signals and policy.

    Args:
        signals: each is fed with its series.
        policy: decides.
        mode: of the monitored metric.
        most: interventions that the policy has.

    Attributes:
        found: by the number of the signal what it has found first since the last decision.
        interventions: made so far.
        checks: values of the monitored metric so far.
        declined: whether a divergence has gone without an answer.
    """

    def __init__(self, signals: Sequence[Signal], policy: Policy, mode: Mode, most: int) -> None:
        self.signals = tuple(signals)
        self.policy = policy
        self.mode: Mode = mode
        self.most = most
        self.found: dict[int, Finding] = {}
        self.interventions = 0
        self.checks = 0
        self._listening = {
            source: [index for index, signal in enumerate(self.signals) if signal.source == source]
            for source in ("monitor", "loss", "gradient_norm")
        }
        self._quick = [signal.passed if isinstance(signal, Quick) else None for signal in self.signals]
        self._states = [signal.begin() for signal in self.signals]
        self._policy_state = policy.begin()
        self._begun = False
        self._checked = False
        self._value: float | None = None
        self.declined = False

    @property
    def findings(self) -> list[Finding]:
        """Since the last decision, the first of each signal."""
        return list(self.found.values())

    @property
    def due(self) -> bool:
        """Whether there is something to decide on."""
        return self._checked or not self._begun or bool(self.found)

    @property
    def interventions_left(self) -> int:
        return max(self.most - self.interventions, 0)

    @property
    def answers(self) -> bool:
        """Whether a divergence that was found may still be answered, before the next batch."""
        diverging = any(finding.kind == "divergence" for finding in self.findings)
        return diverging and not self.declined and self.interventions_left > 0

    def listens_to(self, source: Source) -> bool:
        return bool(self._listening[source])

    def check(self, step: int, value: float, name: str) -> None:
        """Takes in a value of the monitored metric of that name."""
        self._checked, self._value = True, value
        self.checks += 1
        self.feed("monitor", [(step, value)], name)

    def feed(self, source: Source, values: Sequence[tuple[int, float]], name: str = "") -> None:
        """Takes in values of a series, each with the optimizer steps made before it; under a name to be told with."""
        if not values:
            return
        numbers = [value for _, value in values]
        usable = all_usable(numbers)
        for index in self._listening[source]:
            quick = self._quick[index]
            passed = quick(self._states[index], numbers) if quick is not None and usable else None
            if passed is None:
                self._observe(index, values, name)
            else:
                self._states[index] = passed

    def decide(self, epoch: int, step: int, knobs: Sequence[Knobs], checks_left: int | None) -> Decision | None:
        """What to do now; all that was seen is used up by it."""
        look = Look(
            epoch=epoch,
            step=step,
            value=self._value,
            findings=tuple(self.findings),
            knobs=tuple(knobs),
            checks=self.checks,
            checks_left=checks_left,
            interventions_left=self.interventions_left,
            mode=self.mode,
        )
        self._policy_state, decision = self.policy.decide(self._policy_state, look)
        self.declined = self.declined or any(finding.kind == "divergence" for finding in self.findings)
        self._begun, self._checked, self._value, self.found = True, False, None, {}
        return decision

    def intervened(self, counts: bool = True) -> None:
        """Tells the signals that the fit was changed: what was seen before says nothing about what comes.

        Args:
            counts: whether it was the policy that did it, and not a schedule or a person.
        """
        self.interventions += counts
        self.declined = False
        pairs = zip(self.signals, self._states, strict=True)
        self._states = [signal.intervened(state) for signal, state in pairs]

    def forget(self, kind: str) -> None:
        """Drops the findings of a kind."""
        self.found = {index: finding for index, finding in self.found.items() if finding.kind != kind}

    def _observe(self, index: int, values: Sequence[tuple[int, float]], name: str) -> None:
        """Has one signal look at value after value."""
        signal, state = self.signals[index], self._states[index]
        for step, value in values:
            state, finding = signal.observe(state, step, value)
            if finding is not None and index not in self.found:
                reason = f"{name}: {finding.reason}" if name else finding.reason
                self.found[index] = replace(finding, reason=reason)
        self._states[index] = state

    def state_dict(self) -> dict[str, Any]:
        return {
            "signals": self._states,
            "policy": self._policy_state,
            "findings": {index: asdict(finding) for index, finding in self.found.items()},
            "interventions": self.interventions,
            "checks": self.checks,
            "begun": self._begun,
            "checked": self._checked,
            "value": self._value,
            "declined": self.declined,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._states = list(state["signals"])
        self._policy_state = state["policy"]
        self.found = {index: Finding(**finding) for index, finding in state["findings"].items()}
        self.interventions, self.checks = state["interventions"], state["checks"]
        self._begun, self._checked, self._value = state["begun"], state["checked"], state["value"]
        self.declined = state["declined"]
