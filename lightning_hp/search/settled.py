"""What a pruner has decided, as a search takes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lightning_hp.trial import Finished, Judged, Paused, Rung, Trial


@dataclass
class Settled:
    """What has been decided, who goes on by it, and who is over. To be written down in this order.

    Attributes:
        judged: what has been decided.
        going_on: who goes on.
        awaited: of those that go on, whom later rounds wait for.
        pruned: who is over.
        standing: how trials that wait stand, where later rounds are to be proposed by that and not wait for them.
    """

    judged: list[Judged] = field(default_factory=list)
    going_on: list[Trial] = field(default_factory=list)
    awaited: list[Trial] = field(default_factory=list)
    pruned: list[tuple[Trial, Finished]] = field(default_factory=list)
    standing: list[Trial] = field(default_factory=list)

    def part(self, trial: Trial, event: Paused, rung: Rung, goes_on: bool) -> None:
        """Has a trial that waits at a rung go on, or end as it stands."""
        if goes_on:
            self.going_on.append(trial)
        else:
            outcome = replace(event.outcome, reason=f"not among the best at {rung}")
            self.pruned.append((trial, Finished(trial.number, outcome, event.time)))
