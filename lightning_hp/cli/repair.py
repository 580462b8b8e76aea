"""``lightning-hp repair``: rebuilds a study whose file is damaged or gone."""

from __future__ import annotations

import sys
from pathlib import Path

from lightning_hp.study.records import repair


def main(root: str) -> int:
    folder = Path(root).absolute()
    repaired = repair(folder)
    print(f"{folder}: study.db has the {repaired.trials} trials whose records could be read")
    if repaired.old is not None:
        print(f"the old file is kept as {repaired.old.name}")
    for path in repaired.unreadable:
        print(f"cannot be read, so its trial will be run again: {path}", file=sys.stderr)
    return 0
