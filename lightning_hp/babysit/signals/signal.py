"""What a signal is: it is fed with one series of a fit, and says when something is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

Source: TypeAlias = Literal["monitor", "loss", "gradient_norm"]
Kind: TypeAlias = Literal["plateau", "divergence", "spike", "drift", "stuck", "slow", "oscillation"]
State: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a signal has found.

    Attributes:
        kind: what is wrong, as policies know it. Of those that call for going back, ``divergence`` can't recover by itself
            (a value that is not finite), ``spike`` and ``drift`` may, and ``stuck`` has been bad since the fit's beginning,
            so that only a snapshot from before the first step helps.
        step: the optimizer steps that had been made at the value that showed it.
        reason: why, in a sentence that names the values.
    """

    kind: Kind
    step: int
    reason: str


class Signal(Protocol):
    """A pure rule over a series: its settings are its fields, its state is plain data, which a checkpoint can hold."""

    @property
    def source(self) -> Source:
        """The series that it is fed with: the monitored metric per check, the training loss or the gradient's norm per step."""
        ...

    def begin(self) -> State:
        """The state before the first value: None, bool, int, float, str, and lists and dicts of them."""
        ...

    def observe(self, state: State, step: int, value: float) -> tuple[State, Finding | None]:
        """Takes in the next value (NaN and infinities too): the new state, and what it shows if anything is wrong.

        The given state stays as it is. Having found something, a signal starts anew, as after an intervention.
        """
        ...

    def intervened(self, state: State) -> State:
        """The state after somebody has changed the fit: what was seen before says nothing about what comes."""
        ...


@runtime_checkable
class Quick(Protocol):
    """A signal that can tell at a glance that a stretch of values shows nothing, as nearly all stretches do.

    Training losses are handed over some at a time, and to observe them one by one takes longer than all else that a babysitter
    does. A signal of your own need not be one.
    """

    def passed(self, state: State, values: Sequence[float]) -> State | None:
        """The state after these values, the same as `observe` gives for one after another; None if that has to be asked.

        All values are finite, and so small that differences of such are too.
        """
        ...
