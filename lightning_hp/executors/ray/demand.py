"""What a job of a search needs of a machine of a Ray cluster, and how many of them the cluster has room for."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from lightning_hp.errors import ConfigError
from lightning_hp.executors.limits import NO_LIMITS, Limits
from lightning_hp.executors.ray import RayCluster
from lightning_hp.executors.ray.nodes import Nodes
from lightning_hp.executors.ray.session import Session, room

# Seconds from one look at the machines of the cluster to the next.
LOOK_INTERVAL = 5.0


@dataclass
class Demand:
    """What is asked of a cluster, and what is known of it while a search runs there.

    Args:
        cluster: where, and what a job takes.
        accelerator: the Trainer's.
        devices: how many of them a trial trains on.
        limits: of all jobs. Without a number of workers, as many jobs run at the same time as there is room for.
        verbose: let Lightning say what it has to say.
        most: how many jobs there will be at most, which takes no more agents; None if that is open.

    Attributes:
        nodes: how its machines fare with the jobs of a run.
    """

    cluster: RayCluster
    accelerator: str = "auto"
    devices: int = 1
    limits: Limits = NO_LIMITS
    verbose: bool = False
    most: int | None = None
    nodes: Nodes = field(default_factory=Nodes, init=False)
    _session: Session = field(init=False)
    # How many jobs there is room for, and when this was so.
    _room: tuple[int, float] = field(default=(0, -math.inf), init=False)
    # GPUs that a job takes, which is the same for all of a run, whatever machines join; None before that is known.
    _share: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._session = Session(self.cluster)
        given = self.cluster.num_gpus
        if given and given < self.devices and self.devices > 1 and self._may_use_gpus:
            raise ConfigError(f"RayCluster: num_gpus needs {self.devices}, the devices that a trial trains on, got {given!r}")

    def connect(self) -> Any:
        """Ray, connected to the cluster."""
        return self._session.connect()

    def disconnect(self) -> None:
        """Ends the connection, and forgets what was known of the cluster."""
        self._session.close()
        self._room, self._share, self.nodes = (0, -math.inf), None, Nodes()

    @property
    def at_a_time(self) -> int:
        """How many jobs may run at the same time."""
        # One at least: a cluster may grow when something is asked for.
        count = self.limits.workers if self.limits.workers is not None else max(1, self._fitting())
        return count if self.most is None else min(count, self.most)

    @property
    def wanted(self) -> int:
        """How many agents there are to be while jobs wait: of one that has no room yet, an autoscaler makes a machine."""
        if self.limits.workers is not None:
            return self.at_a_time
        count = self._fitting() + 1
        return count if self.most is None else min(count, self.most)

    def _fitting(self) -> int:
        count, looked = self._room
        now = time.monotonic()
        if now - looked >= LOOK_INTERVAL:
            count = room(self.connect(), self.needs(), self.selector())
            self._room = count, now
        return count

    def needs(self) -> dict[str, float]:
        """What a job takes of a machine, by Ray's names of resources."""
        cpus = self.cluster.num_cpus if self.cluster.num_cpus is not None else self.devices
        needs = {"CPU": cpus, "GPU": self._gpus(), **self.cluster.resources}
        if self.limits.memory is not None:
            needs["memory"] = self.limits.memory * self.devices
        return needs

    def selector(self) -> dict[str, str]:
        """The labels that a machine needs, as Ray's label selector."""
        return {**self.nodes.selector(), **self.cluster.label_selector}

    @property
    def _may_use_gpus(self) -> bool:
        return self.accelerator in ("auto", "gpu", "cuda")

    def _gpus(self) -> float:
        if self.cluster.num_gpus is not None:
            return self.cluster.num_gpus
        if self._share is None:
            # Several GPUs Ray gives only whole.
            share = self.devices if self.devices > 1 else 1 / self.limits.jobs_per_device
            self._share = share if self._uses_gpus() else 0
        return self._share

    def _uses_gpus(self) -> bool:
        if self.accelerator == "auto":
            return room(self.connect(), {"GPU": 1}, self.cluster.label_selector) > 0
        # A machine that has some may still have to join.
        return self._may_use_gpus
