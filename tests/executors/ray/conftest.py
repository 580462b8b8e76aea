"""A Ray cluster of several machines, all of them on this one."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Of this machine's memory for each of the others. Less than Ray takes by default, and enough.
STORE = 80 * 2**20
# So that a machine that hangs is given up within seconds.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 5,
}


class Machines:
    """A cluster, whose head runs no jobs.

    Attributes:
        temporary: the folder for what is temporary on its machines.
    """

    def __init__(self, cluster: Any, temporary: Path) -> None:
        self.cluster = cluster
        self.temporary = temporary

    def add(self, num_cpus: int = 1, own: dict[str, Any] | None = None, **resources: float) -> Any:
        """Has one more machine join, which may have labels or environment variables of its own."""
        return self.cluster.add_node(num_cpus=num_cpus, resources=resources, object_store_memory=STORE, **(own or {}))

    def remove(self, machine: Any) -> None:
        """Has a machine leave, or tidies up after one that is gone."""
        self.cluster.remove_node(machine, allow_graceful=False)

    @staticmethod
    def mark(machine: Any) -> int:
        """What the processes on a machine have as the environment variable RAY_RAYLET_PID."""
        number: int = machine.all_processes["raylet"][0].process.pid
        return number


def _reap(cluster: Any, over: threading.Event) -> None:
    """A machine that was killed is gone for its processes only when this one, its parent, knows it."""
    while not over.wait(0.2):
        for machine in [*cluster.worker_nodes]:
            for raylet in machine.all_processes.get("raylet", ()):
                raylet.process.poll()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """A cluster without any machine for jobs, which a search finds by RAY_ADDRESS."""
    pytest.importorskip("ray", reason="pip install 'lightning-hp[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        # The paths of Ray's sockets, in there, may not be long.
        folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]), prepend=os.pathsep)
        # Ray would have its processes wait for all others.
        patch.setenv("RAY_worker_niceness", "0")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE, "_system_config": HEALTH}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        patch.setenv("RAY_ADDRESS", cluster.address)
        over = threading.Event()
        reaper = threading.Thread(target=_reap, args=(cluster, over))
        reaper.start()
        try:
            yield Machines(cluster, Path(folder))
        finally:
            over.set()
            reaper.join()
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
