"""Which steps of a babysat fit have led to its weights: what lies between a snapshot and a rollback to it has not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TypeAlias

from lightning_hp.babysit.actions import Rollback, Snapshot
from lightning_hp.babysit.log import Record

Stretch: TypeAlias = tuple[int, int]
"""The first step, and the one after the last."""


def kept(records: Iterable[Record], end: int) -> list[Stretch]:
    """The stretches that the weights at the end have gone through, in order.

    Args:
        records: of the log.
        end: the steps made in all.

    >>> from lightning_hp.babysit.log import to_plain
    >>> def at(step, action):
    ...     return Record("decision", 0, step, step, "", {"actions": [to_plain(action)]})
    >>> kept([at(0, Snapshot("start")), at(40, Snapshot("good")), at(70, Rollback("good"))], end=100)
    [(0, 40), (70, 100)]
    """
    # A snapshot's way, by babysitter and name: each has its own.
    ways: dict[tuple[object, str], list[Stretch]] = {}
    way: list[Stretch] = []
    start = 0
    for record in records:
        for action in record.actions:
            if isinstance(action, Snapshot):
                ways[record.detail.get("by"), action.name] = _with(way, start, record.step)
            if isinstance(action, Rollback):
                way, start = ways.get((record.detail.get("by"), action.name), []), record.step
    return _with(way, start, end)


def discarded(records: Iterable[Record], end: int) -> list[Stretch]:
    """The other stretches, in order."""
    ways = [(0, 0), *kept(records, end), (end, end)]
    return [(before[1], after[0]) for before, after in pairwise(ways) if before[1] < after[0]]


def _with(way: list[Stretch], start: int, end: int) -> list[Stretch]:
    if start >= end:
        return list(way)
    # One that nothing interrupts is one.
    if way and way[-1][1] == start:
        return [*way[:-1], (way[-1][0], end)]
    return [*way, (start, end)]
