"""``lightning-hp search --print_config``: all that can be set, as it stands, in a config to edit."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from lightning_hp.cli.config import assembled
from lightning_hp.cli.names import drop, given_at
from lightning_hp.cli.reading import corners
from lightning_hp.cli.settings import SETTINGS
from lightning_hp.loop import SearchLoop
from lightning_hp.space import Space


def print_config(config: Mapping[str, Any], make: Callable[[], Any], root: str) -> None:
    """Prints a config with all defaults.

    Args:
        config: its sections.
        make: calls LightningCLI.
        root: the study's folder where the config says none.

    Raises:
        ConfigError: a section is wrong.
    """
    search = config["search"]
    assembly = assembled(config, make)
    # What a class requires may be searched only.
    searched = corners(Space(search["space"]))[0] if search.get("space") else {}
    whole = assembly.whole(searched)
    for keys in map(assembly.locate, searched):
        if not given_at(assembly.given, keys):
            drop(whole, keys)
    defaults = {name: each.default for name, each in inspect.signature(SearchLoop).parameters.items()}
    settings = {name: search.get(name, _plain(defaults.get(name))) for name in SETTINGS}
    print(yaml.safe_dump({**whole, "search": {**settings, "root": search.get("root", root)}}, sort_keys=False), end="")


def _plain(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return None
    return [] if default == () else default
