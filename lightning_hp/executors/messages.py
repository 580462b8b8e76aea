"""What a search tells a worker process, and what it tells back besides the events of its trials.

Apart from the worker, which imports torch: who only passes these on does not wait for that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_hp.errors import LightningHPError
from lightning_hp.trial import Job, Outcome


@dataclass(frozen=True)
class Serve:
    """What a fork server is told to serve.

    Attributes:
        payload: the pickled function that trains a job.
        preload: import the user's code in the server, once, and not in every worker.
        scratch: the search's folder for what is temporary.
        path: where the search finds its modules.
        environment: the search's.
    """

    payload: bytes
    preload: bool
    scratch: str
    path: list[str]
    environment: dict[str, str]


@dataclass(frozen=True)
class Order:
    """What a worker is told to do.

    Attributes:
        job: to run.
        environment: variables to set, such as the devices that the job may see.
        threads: that torch may use.
        rank: of this process among those of the job; 0 reports.
        memory_limit: bytes that the process may use; None for no limit.
        verbose: let Lightning say what it has to say.
    """

    job: Job
    environment: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    rank: int = 0
    memory_limit: int | None = None
    verbose: bool = False


@dataclass(frozen=True)
class Broken:
    """The job could not even begin: a module of the user's cannot be imported, or what was sent cannot be read."""

    reason: str
    traceback: str


@dataclass(frozen=True)
class Lost:
    """The process ends itself, for a reason that is not the fault of the user's code."""

    reason: str


@dataclass(frozen=True)
class Warned:
    """A warning, which one process shows once. Each worker would show it again."""

    text: str


@dataclass(frozen=True)
class RankFailed:
    """The trial failed in a process other than the first."""

    outcome: Outcome


@dataclass(frozen=True)
class Raised:
    """What condemns the search, and not only the job."""

    error: LightningHPError
