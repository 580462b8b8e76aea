"""ROOT/config.yaml: what was asked, for people to read and, where it came from a config, to resume from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from lightning_hp.description import described
from lightning_hp.study.files import write_whole

FILE = "config.yaml"


def write_config(root: Path, config: Mapping[str, Any]) -> None:
    """Writes the config whole or not at all.

    Raises:
        StorageError: the disk takes no data.
    """
    write_whole(root / FILE, yaml.safe_dump(dict(config), sort_keys=False))


def read_config(root: Path) -> dict[str, Any]:
    """The config of a study; empty where it has none that can be read."""
    try:
        config = yaml.safe_load((root / FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def section_of(value: Any) -> dict[str, Any]:
    """A class or function as a ``class_path`` section, with the arguments of a partial."""
    named = getattr(value, "func", value)
    named = named if hasattr(named, "__qualname__") else type(named)
    given = described(value.keywords) if isinstance(value, partial) else {}
    return {"class_path": f"{named.__module__}.{named.__qualname__}", **({"init_args": given} if given else {})}
