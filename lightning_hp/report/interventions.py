"""What was done to babysat trials, read from the babysit.jsonl in their folders: what, when and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_hp.trial import trial_folder

FILE = "babysit.jsonl"
Kind = Literal["moved", "went back", "skipped", "stopped", "asked"]
# Of several actions of one record, the one that counts.
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("rollback", "went back"),
    ("stop", "stopped"),
    ("skip", "skipped"),
    ("adjust", "moved"),
)


@dataclass(frozen=True)
class Intervention:
    """Something that was done to a trial while it trained.

    Attributes:
        number: of the trial.
        epoch: in which, from 0.
        step: the optimizer steps made before it.
        kind: what; ``asked`` is what a person asked for.
        reason: why, in a sentence.
        change: lr and momentum before and after, in words; empty where they stayed.
    """

    number: int
    epoch: int
    step: int
    kind: Kind
    reason: str
    change: str


def interventions(root: Path, numbers: Iterable[int]) -> list[Intervention]:
    """Those of a study's trials, in their order. A line that is no record, such as one half written, says nothing.

    Args:
        root: the study's folder.
        numbers: of its trials.
    """
    return [each for number in numbers for each in _of(number, trial_folder(root, number) / FILE)]


def _of(number: int, file: Path) -> Iterator[Intervention]:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            record = json.loads(line)
            kind = _kind(record)
            if kind is not None:
                place = int(record["epoch"]), int(record["step"])
                yield Intervention(number, *place, kind, str(record["reason"]), _changes(record))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def _kind(record: Mapping[str, Any]) -> Kind | None:
    """What a record says was done; None where training went on as it would have."""
    done = {action["action"] for action in record["detail"].get("actions", [])}
    found: Kind | None = next((kind for action, kind in _KINDS if action in done), None)
    return "asked" if found is not None and record["event"] == "request" else found


def _changes(record: Mapping[str, Any]) -> str:
    told = []
    for name in ("lr", "momentum"):
        before, after = ([group[name] for group in record[when]] for when in ("before", "after"))
        if before != after:
            told.append(f"{name} {_listed(before)} → {_listed(after)}")
    return ", ".join(told)


def _listed(values: Iterable[Any]) -> str:
    return ", ".join("none" if value is None else f"{float(value):.4g}" for value in values)
