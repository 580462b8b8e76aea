"""What the ``search`` command starts before it imports torch, which takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_hp.cli.settings import read_config
from lightning_hp.errors import ConfigError
from lightning_hp.executors import ahead
from lightning_hp.executors.launch import CAN_FORK


@contextmanager
def server_ahead(options: dict[str, Any]) -> Iterator[None]:
    """Has the process that will fork the workers import torch at the same time as this one, where there may be such a process.

    Args:
        options: of the command.
    """
    if CAN_FORK and not options["print_config"] and _executor(options) in ("auto", "processes"):
        ahead.begin()
    try:
        yield
    finally:
        ahead.stop()


def _executor(options: dict[str, Any]) -> Any:
    """What the flags ask for, or else the last of the configs that says it."""
    asked = options.get("executor")
    for path in reversed(options["config"]):
        if asked is not None:
            break
        try:
            asked = (read_config(Path(path)).get("search") or {}).get("executor")
        except (ConfigError, AttributeError):
            # Told when the config is read in earnest.
            return None
    return "auto" if asked is None else asked
