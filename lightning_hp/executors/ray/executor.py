"""The executor of a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_hp.executors import NextJob, Work
from lightning_hp.executors.ray.demand import Demand
from lightning_hp.executors.ray.driver import Driver
from lightning_hp.trial import Emit


@dataclass(frozen=True)
class OnRay:
    """Runs jobs on a Ray cluster, as many at a time as it has room for. Machines that join later are used.

    Args:
        demand: which cluster, and what a job takes of it.
    """

    demand: Demand

    @property
    def at_a_time(self) -> int:
        return self.demand.at_a_time

    def run(self, next_job: NextJob, work: Work, emit: Emit) -> None:
        try:
            # Where nothing is left to do, nothing is started.
            first = next_job()
            if first is not None:
                Driver(self.demand, self.demand.connect(), work, emit).run(first, next_job)
        finally:
            self.demand.disconnect()
