"""A connection to Ray: made where there is none, and closed again by whom it was made for."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lightning_hp.errors import ConfigError, LightningHPError, did_you_mean
from lightning_hp.executors.ray import RayCluster
from lightning_hp.executors.ray.address import check_answers
from lightning_hp.executors.ray.labels import can_select, matches

# Seconds that what a dead search has left on the cluster is waited for to end.
_END_PATIENCE = 60.0


def import_ray() -> Any:
    """The module.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(f"Ray cannot be imported ({error}): pip install 'lightning-hp[ray]'") from error
    return ray


class Session:
    """Ray, connected to a cluster when it is first needed.

    Args:
        cluster: which one.
    """

    def __init__(self, cluster: RayCluster) -> None:
        self._cluster = cluster
        self._is_ours = False

    def connect(self) -> Any:
        """Ray's module, connected. A connection that was there before is used.

        Raises:
            ConfigError: Ray is not installed, there is no such cluster, or it cannot be worked with from here.
        """
        ray = import_ray()
        if self._cluster.label_selector and not can_select(ray.__version__):
            raise ConfigError(f"RayCluster: label_selector needs Ray 2.49 or later, this is {ray.__version__}")
        if ray.is_initialized():
            if not self._is_ours:
                self._check_made_before(ray)
            return ray
        address = self._cluster.address or os.environ.get("RAY_ADDRESS", "")
        _check_is_of_the_cluster(address)
        check_answers(address)
        _check_fields(self._cluster.runtime_env)
        at_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=self._cluster.address,
                runtime_env=dict(self._cluster.runtime_env) or None,
                # What workers print comes as events, each line with its trial.
                log_to_driver=False,
                # Its warnings are about Ray's own settings, such as its authentication.
                logging_level=logging.ERROR,
            )
        except (ConnectionError, TimeoutError) as error:
            raise ConfigError(_no_cluster(self._cluster.address, error)) from error
        except (ValueError, TypeError, RuntimeError) as error:
            given = f"address={self._cluster.address!r}, runtime_env={dict(self._cluster.runtime_env)}"
            raise ConfigError(f"Ray refuses {given}: {_in_line(error)}") from error
        finally:
            # Ray sets its own, which prints where each thread is, and would not end a search in order.
            if at_sigterm is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, at_sigterm)
        self._is_ours = True
        return ray

    def _check_made_before(self, ray: Any) -> None:
        if ray.util.client.ray.is_connected():
            _check_is_of_the_cluster("ray://")
        if self._cluster.runtime_env:
            raise ConfigError(
                "RayCluster: runtime_env comes too late, since Ray is initialised already: give it to ray.init instead, or do "
                "without ray.init"
            )

    def close(self) -> None:
        """Ends a connection that was made here, and with it a cluster that was started for it."""
        if self._is_ours:
            self._is_ours = False
            import_ray().shutdown()


def _no_cluster(address: str | None, error: Exception) -> str:
    # Ray tells the reason on stderr only, in C++.
    return (
        f"no Ray cluster at address {address!r}: {_in_line(error)}. If it asks for a token, this machine needs "
        "RAY_AUTH_MODE=token and the same ~/.ray/auth_token"
    )


def _check_fields(runtime_env: Mapping[str, Any]) -> None:
    """Raises ConfigError for what Ray would not even look at."""
    from ray.runtime_env import RuntimeEnv

    for name in runtime_env:
        if name not in RuntimeEnv.known_fields:
            hint = did_you_mean(str(name), RuntimeEnv.known_fields)
            raise ConfigError(f"RayCluster: runtime_env has {name!r}, which is not one of Ray's fields{hint}")


def _in_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _check_is_of_the_cluster(address: str) -> None:
    if address.startswith("ray://"):
        raise ConfigError(
            f"the search has to run on a machine of the cluster, and {address!r} is for those that do not: start it there, "
            "or by ray job submit, with address 'auto'"
        )


def room(ray: Any, needs: Mapping[str, float], selector: Mapping[str, str]) -> int:
    """How many jobs that need so much the machines with such labels have room for, whatever else runs there."""
    amounts = {name: amount for name, amount in needs.items() if amount > 0}
    nodes = [each["Resources"] for each in ray.nodes() if each["Alive"] and matches(each.get("Labels", {}), selector)]
    return sum(min((math.floor(node.get(name, 0) / amount) for name, amount in amounts.items()), default=1) for node in nodes)


def end_leftovers(ray: Any, prefix: str) -> None:
    """Ends the actors of this name that a search has left behind which was killed: Ray does so as well, a little later.

    Raises:
        LightningHPError: they do not end.
    """
    due = time.monotonic() + _END_PATIENCE
    while names := [each for each in ray.util.list_named_actors(all_namespaces=True) if each["name"].startswith(prefix)]:
        for each in names:
            with suppress(ValueError, ray.exceptions.RayError):
                ray.kill(ray.get_actor(each["name"], each["namespace"]))
        if time.monotonic() >= due:
            raise LightningHPError(f"{len(names)} actors that an earlier run of this search has left on the cluster do not end")
        time.sleep(0.1)
