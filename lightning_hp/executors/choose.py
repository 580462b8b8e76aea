"""Which executor a search gets."""

from __future__ import annotations

from lightning_hp.bounds import is_number, whole_number, whole_number_or_none
from lightning_hp.errors import ConfigError, one_of
from lightning_hp.executors import Executor
from lightning_hp.executors.inline import Inline
from lightning_hp.executors.processes import Processes
from lightning_hp.executors.ray import RayCluster
from lightning_hp.executors.ray.demand import Demand
from lightning_hp.executors.ray.executor import OnRay
from lightning_hp.executors.resources import places

EXECUTORS = ("auto", "inline", "processes", "ray")


def executor_for(
    asked: str | RayCluster,
    accelerator: str = "auto",
    devices: int = 1,
    workers: int | None = None,
    jobs_per_device: int = 1,
    trial_timeout: float | None = None,
    memory_limit: float | None = None,
    verbose: bool = False,
    most: int | None = None,
) -> Executor:
    """The executor that was asked for; ``"auto"`` takes processes where there is room for more than one, or need for one.

    Args:
        asked: one of `EXECUTORS`, or a Ray cluster.
        accelerator: the Trainer's.
        devices: how many of them a trial trains on.
        workers: how many jobs run at the same time; None for as many as the machine has devices, or cores without.
        jobs_per_device: how many jobs share a GPU.
        trial_timeout: seconds that a trial may take.
        memory_limit: GiB that a worker may use.
        verbose: let Lightning say what it has to say.
        most: how many jobs there will be at most; None if that is open.

    Raises:
        ConfigError: an argument is wrong, or does not go with the executor.
    """
    cluster = asked if isinstance(asked, RayCluster) else RayCluster()
    name = "ray" if isinstance(asked, RayCluster) else asked
    one_of("executor", name, EXECUTORS)
    workers = whole_number_or_none("workers", workers, 1)
    jobs_per_device = whole_number("jobs_per_device", jobs_per_device, 1)
    if memory_limit is not None and not (is_number(memory_limit) and memory_limit > 0):
        raise ConfigError(f"memory_limit needs a number of GiB above 0, got {memory_limit!r}")
    limit = int(memory_limit * 2**30) if memory_limit is not None else None
    if name == "ray":
        demand = Demand(cluster, accelerator, devices, workers, jobs_per_device, trial_timeout, limit, verbose, most)
        return OnRay(demand)
    found = places(accelerator, workers, jobs_per_device, devices)
    needs = {
        "trainer devices above 1": devices > 1,
        "workers": workers is not None and workers > 1,
        "trial_timeout": trial_timeout is not None,
        "memory_limit": memory_limit is not None,
    }
    needed = [what for what, is_needed in needs.items() if is_needed]
    if name == "inline" and needed:
        raise ConfigError(f"{needed[0]} needs executor='processes', got executor='inline', which trains in this process")
    if name == "inline" or (name == "auto" and not needed and len(found) == 1):
        return Inline()
    return Processes(found, trial_timeout, limit, verbose=verbose)
