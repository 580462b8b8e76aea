"""ROOT/config.yaml: what was asked, for people to read and, where it came from a config, to resume from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lightning_hp.study.files import write_whole

FILE = "config.yaml"


def write_config(root: Path, config: Mapping[str, Any]) -> None:
    """Writes the config whole or not at all.

    Raises:
        StorageError: the disk takes no data.
    """
    write_whole(root / FILE, yaml.safe_dump(dict(config), sort_keys=False))
