"""How many jobs run at a time, and what each may take of the machine that it runs on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_hp.bounds import is_any_number, whole_number, whole_number_or_none
from lightning_hp.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """What the user has set for all jobs of a search. Checked when made.

    Args:
        workers: how many jobs run at the same time; None for as many as there are devices, or cores without.
        jobs_per_device: how many jobs share a GPU, where a trial trains on one.
        trial_timeout: seconds that a trial may take; None for no limit.
        memory_limit: GiB that a process may use; None for no limit.

    Raises:
        ConfigError: a value is no such number.
    """

    workers: int | None = None
    jobs_per_device: int = 1
    trial_timeout: float | None = None
    memory_limit: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "workers", whole_number_or_none("workers", self.workers, 1))
        object.__setattr__(self, "jobs_per_device", whole_number("jobs_per_device", self.jobs_per_device, 1))
        if self.memory_limit is not None and not (is_any_number(self.memory_limit) and 0 < self.memory_limit < math.inf):
            raise ConfigError(f"memory_limit needs a number of GiB above 0, got {self.memory_limit!r}")

    @property
    def memory(self) -> int | None:
        """The limit of memory in bytes."""
        return int(self.memory_limit * 2**30) if self.memory_limit is not None else None


NO_LIMITS = Limits()
