"""Whether anything answers at a cluster's address: Ray itself would try for minutes, and then end this process."""

from __future__ import annotations

import os
import socket

from lightning_hp.errors import ConfigError

# Seconds in which the head of a cluster has to answer.
_PATIENCE = 10.0


def check_answers(address: str | None) -> None:
    """Connects to the head of a cluster, and says nothing to it.

    Args:
        address: as `ray.init` takes it. One that does not name a host and a port is left to Ray.

    Raises:
        ConfigError: nothing answers there.
    """
    if address in (None, "", "auto"):
        # The environment has the last word, as with Ray.
        address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = str(address).rpartition(":")
    if "://" in host or not (host and port.isdecimal() and int(port) < 2**16):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        raise ConfigError(
            f"no Ray cluster at address {address!r}: {error.strerror or error}. It is that of the cluster's head, as ray start "
            "--head prints it, and port 6379 unless that was told another"
        ) from error
