"""ROOT/config.yaml: what was asked, for people to read and, where it came from a config, to resume from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = "config.yaml"


def write_config(root: Path, config: Mapping[str, Any]) -> None:
    """Writes the config whole or not at all."""
    temporary = root / f".{FILE}.new"
    temporary.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    temporary.replace(root / FILE)
