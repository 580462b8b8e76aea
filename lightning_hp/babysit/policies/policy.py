"""What a policy is: findings in, actions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from lightning_hp.babysit.actions import Action, Knobs
from lightning_hp.babysit.signals import Finding, Plateau, Signal
from lightning_hp.trial import Mode

State: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """What a policy sees of a fit.

    Attributes:
        epoch: the epoch that runs, from 0.
        step: optimizer steps made so far.
        value: of the monitored metric, if this look is a check; None before the first step and where a finding came
            between checks.
        findings: what the signals have found since the last look.
        knobs: lr and momentum of each parameter group, numbered through all optimizers; of a scheduled momentum the highest
            of its cycle.
        checks: checks so far, this one included.
        checks_left: checks to come until the fit's end; None if the fit has no known end.
        interventions_left: how often the policy may still intervene; with none left only `Stop` and `Snapshot` are done.
        mode: whether the metric shall fall (``"min"``) or rise (``"max"``).
    """

    epoch: int
    step: int
    value: float | None
    findings: tuple[Finding, ...]
    knobs: tuple[Knobs, ...]
    checks: int
    checks_left: int | None
    interventions_left: int
    mode: Mode = "min"


@dataclass(frozen=True)
class Decision:
    """What a policy wants done.

    Attributes:
        actions: in the order in which they are carried out, before the next batch.
        reason: why, in a sentence.
    """

    actions: Sequence[Action]
    reason: str


class Policy(Protocol):
    """A pure rule: its settings are its fields, its state is plain data, which a checkpoint can hold."""

    def signals(self, plateau: Plateau) -> Sequence[Signal]:
        """What it wants to be told by, where the user names no signals.

        Args:
            plateau: the signal of patience as the user set it, with the fit's mode; a policy may take it, or its mode only.
        """
        ...

    def begin(self) -> State:
        """The state before the first look: None, bool, int, float, str, and lists and dicts of them."""
        ...

    def decide(self, state: State, look: Look) -> tuple[State, Decision | None]:
        """Called before the first step, at each check, and whenever a signal finds something: the new state, and what to do."""
        ...
