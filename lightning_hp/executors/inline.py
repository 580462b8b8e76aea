"""Jobs one after another in this process: the simplest place to run, and the one to debug in."""

from __future__ import annotations

from lightning_hp.executors import NextJob, Work
from lightning_hp.trial import Emit


class Inline:
    """Runs each job where it stands."""

    at_a_time = 1

    def run(self, next_job: NextJob, work: Work, emit: Emit) -> None:
        while (job := next_job()) is not None:
            work(job, emit)
