"""Jobs one after another in this process: the simplest place to run, and the one to debug in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lightning_hp.trial import Emit, Job


class Inline:
    """Runs each job where it stands."""

    def run(self, jobs: Iterator[Job], work: Callable[[Job, Emit], None], emit: Emit) -> None:
        for job in jobs:
            work(job, emit)
