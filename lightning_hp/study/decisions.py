"""ROOT/decisions.jsonl: what study.db knows of rounds and rungs, a line each, to rebuild that from."""

from __future__ import annotations

import json
from pathlib import Path

from lightning_hp.errors import storage_errors
from lightning_hp.trial import Judged, RoundBegan

FILE = "decisions.jsonl"


def note(root: Path, decision: RoundBegan | Judged) -> None:
    """Adds a decision.

    Raises:
        StorageError: the disk takes no data.
    """
    if isinstance(decision, RoundBegan):
        plain = {"first": decision.first, "seen": decision.seen, "notes": decision.notes}
    else:
        plain = {"rung": decision.rung, "values": list(decision.values.items()), "going_on": sorted(decision.going_on)}
    path = root / FILE
    with storage_errors(path), path.open("a") as file:
        # A line that a full disk has cut short takes no other with it.
        file.write(f"\n{json.dumps(plain)}")


def read(root: Path) -> list[RoundBegan | Judged]:
    """The decisions in their order, where later ones may stand for earlier ones; none that cannot be read."""
    path = root / FILE
    found: list[RoundBegan | Judged] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            plain = json.loads(line)
            if "first" in plain:
                found.append(RoundBegan(plain["first"], plain["seen"], plain["notes"]))
            else:
                found.append(Judged(plain["rung"], dict(plain["values"]), frozenset(plain["going_on"])))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def forget(root: Path) -> None:
    """Removes all of them."""
    (root / FILE).unlink(missing_ok=True)
