"""Where jobs run. An executor takes jobs when it has room for them and passes on their events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

from lightning_hp.trial import Emit, Job

# The next job, or None when there is none now; one may come when another has finished.
NextJob: TypeAlias = Callable[[], Job | None]


class Work(Protocol):
    """What is done with a job. It can be sent to other processes.

    Attributes:
        root: the study's folder.
    """

    @property
    def root(self) -> Path: ...

    def under(self, root: Path) -> Work:
        """The same in another folder."""

    def __call__(self, job: Job, emit: Emit) -> None:
        """Trains a job, reporting its events."""


class Executor(Protocol):
    """What a place to run must be able to do.

    Attributes:
        at_a_time: how many jobs it runs at the same time.
    """

    @property
    def at_a_time(self) -> int: ...

    def run(self, next_job: NextJob, work: Work, emit: Emit) -> None:
        """Runs jobs until none runs and there is no next.

        Args:
            next_job: asked only when a job can start, since the next depends on what has finished.
            work: trains one job, reporting its events.
            emit: takes the events in this process, one at a time. What it raises ends the run.

        A job whose process is lost ends with a `Finished` for each of its trials that has neither finished nor paused,
        ``failed`` and retriable, and blameless where the process was ended from outside. One that cannot even begin, since
        what it needs cannot be loaded, is blameless and not retriable: here it would be the same again.
        """
