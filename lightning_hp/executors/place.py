"""Room for one job, on whatever machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Room for one job.

    Attributes:
        devices: of the GPUs that the job sees, as CUDA_VISIBLE_DEVICES names them; empty for the CPU.
        threads: that torch may use in each process of the job.
        processes: of the job; more than one for a trial that trains on several devices.
    """

    devices: tuple[str, ...]
    threads: int
    processes: int = 1
