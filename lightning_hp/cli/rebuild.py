"""The search of a study, made anew from its ROOT/config.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_hp.cli.config import build, load
from lightning_hp.errors import ConfigError
from lightning_hp.loop import SearchLoop
from lightning_hp.study import Study
from lightning_hp.study.config import FILE


def rebuild(root: str, call: str, make: Callable[[], Any]) -> SearchLoop:
    """The loop whose study is in this folder.

    Args:
        root: the study's folder, wherever it is now.
        call: what does the same in Python, for a search that was begun there and cannot be made from its config.
        make: calls the LightningCLI that the search was begun with.

    Raises:
        ConfigError: the folder holds no study, or its config does not make the search.
    """
    folder = Path(root).expanduser().absolute()
    Study(folder)
    paths = [str(folder / FILE)]
    try:
        return build(paths, load(paths, {"root": str(folder)}, make=make), make)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; for a search that was begun in Python call {call} of its SearchLoop, and for one with a LightningCLI of "
            "your own give its script the same command"
        ) from None
