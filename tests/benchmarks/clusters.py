"""A Ray cluster of several nodes on this machine, for what measures ``executor="ray"``."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Bytes of each node's object store.
STORE = 200 * 2**20


@contextmanager
def cluster(*cores: int) -> Iterator[Any]:
    """A cluster with a head that runs nothing and nodes of so many cores, found by what is started meanwhile.

    Its processes have a folder of their own, so that nothing of another cluster of this machine is met.
    """
    # By default Ray has its workers wait for all others.
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"})
    from ray.cluster_utils import Cluster

    # A short name: Ray puts sockets there, whose paths may have 107 characters. The last logs are written while it is removed.
    with tempfile.TemporaryDirectory(prefix="hr", ignore_cleanup_errors=True) as folder, _environment("RAY_TMPDIR", folder):
        node = {"object_store_memory": STORE}
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **node})
        try:
            for count in cores:
                started.add_node(num_cpus=count, **node)
            with _environment("RAY_ADDRESS", started.address):
                yield started
        finally:
            started.shutdown()


@contextmanager
def connected() -> Iterator[Any]:
    """Ray's module, connected to the cluster that is there."""
    import ray

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


def wait_for(what: Callable[[], bool], seconds: float = 120.0) -> None:
    """Looks a thousand times a second whether something is so."""
    due = time.monotonic() + seconds
    while not what():
        if time.monotonic() > due:
            raise SystemExit(f"not so after {seconds:g} s")
        time.sleep(0.001)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        with suppress(KeyError):
            del os.environ[name]
        if before is not None:
            os.environ[name] = before
