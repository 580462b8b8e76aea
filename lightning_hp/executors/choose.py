"""Which executor a search gets."""

from __future__ import annotations

from lightning_hp.errors import ConfigError, one_of
from lightning_hp.executors import Executor
from lightning_hp.executors.inline import Inline
from lightning_hp.executors.limits import NO_LIMITS, Limits
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
    limits: Limits = NO_LIMITS,
    verbose: bool = False,
    most: int | None = None,
) -> Executor:
    """The executor that was asked for; ``"auto"`` takes processes where there is room for more than one, or need for one.

    Args:
        asked: one of `EXECUTORS`, or a Ray cluster.
        accelerator: the Trainer's.
        devices: how many of them a trial trains on.
        limits: of all jobs.
        verbose: let Lightning say what it has to say.
        most: how many jobs there will be at most; None if that is open.

    Raises:
        ConfigError: an argument is wrong, or does not go with the executor.
    """
    cluster = asked if isinstance(asked, RayCluster) else RayCluster()
    name = one_of("executor", "ray" if isinstance(asked, RayCluster) else asked, EXECUTORS)
    if name == "ray":
        return OnRay(Demand(cluster, accelerator, devices, limits, verbose, most))
    found = places(accelerator, limits.workers, limits.jobs_per_device, devices)
    needs = {
        "trainer devices above 1": devices > 1,
        "workers": limits.workers is not None and limits.workers > 1,
        "trial_timeout": limits.trial_timeout is not None,
        "memory_limit": limits.memory_limit is not None,
    }
    needed = [what for what, is_needed in needs.items() if is_needed]
    if name == "inline" and needed:
        raise ConfigError(f"{needed[0]} needs executor='processes', got executor='inline', which trains in this process")
    if name == "inline" or (name == "auto" and not needed and len(found) == 1):
        return Inline()
    return Processes(found, limits.trial_timeout, limits.memory, verbose=verbose)
