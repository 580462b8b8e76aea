"""Where jobs run. An executor takes jobs when it has room for them and passes on their events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.executors.inline import Inline
from lightning_hp.trial import Emit, Job

EXECUTORS: dict[str, type[Executor]] = {"auto": Inline, "inline": Inline}


class Executor(Protocol):
    """What a place to run must be able to do."""

    def run(self, jobs: Iterator[Job], work: Callable[[Job, Emit], None], emit: Emit) -> None:
        """Runs jobs until there are no more.

        Args:
            jobs: taken one at a time, only when one can start, since the next depends on what has finished.
            work: trains one job, reporting its events.
            emit: takes the events in this process, one at a time. What it raises ends the run.
        """


def executor_for(name: str) -> Executor:
    """The executor of that name.

    Raises:
        ConfigError: there is no such executor.
    """
    if name not in EXECUTORS:
        raise ConfigError(f"executor={name!r} is not one of {', '.join(EXECUTORS)}{did_you_mean(str(name), EXECUTORS)}")
    return EXECUTORS[name]()
