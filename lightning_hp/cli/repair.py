"""``lightning-hp repair``: rebuilds a study whose file is damaged or gone."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from lightning_hp.study.records import repair, sound
from lightning_hp.tracking.progress import bars


def main(root: str) -> int:
    folder = Path(root).absolute()
    if sound(folder):
        print(f"{folder}: study.db is sound and has every trial that left a record: nothing to repair")
        return 0
    console = Console(stderr=True)
    with bars(console, shown=console.is_terminal) as shown:
        task = shown.add_task("records", total=None, before=0)
        repaired = repair(folder, lambda done, total: shown.update(task, completed=done, total=total))
    print(f"{folder}: study.db has the {repaired.trials} trials whose records could be read")
    if repaired.old is not None:
        print(f"the old file is kept as {repaired.old.name}")
    for path in repaired.unreadable:
        print(f"cannot be read, so its trial will be run again: {path}", file=sys.stderr)
    return 0
