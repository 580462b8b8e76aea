"""The picture of a babysat fit, from its log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning_hp.babysit import log
from lightning_hp.babysit.actions import Rollback, Skip, Stop
from lightning_hp.babysit.log import Record
from lightning_hp.babysit.stretches import discarded
from lightning_hp.report.babysat import BabysatRun, Mark, Points, draw_babysat


def picture(path: str | Path, to: str | Path | None = None) -> Any:
    """Draws a babysat fit: metric, training loss, lr and momentum over its steps, and what was done, when and why.

    Args:
        path: a babysit.jsonl, or the folder that it lies in.
        to: where to, by its ending .png, .svg or .pdf; None writes no file.

    Returns:
        The figure, of matplotlib.

    Raises:
        ConfigError: there is no such log, or it is broken; matplotlib is not installed, or cannot write such a file.
    """
    return draw_babysat(shown(log.read(log.found(path))), to)


def shown(records: Sequence[Record]) -> BabysatRun:
    """What a picture shows of a log."""
    states = [record for record in records if record.event == "state"]
    checks = [record for record in states if "value" in record.detail]
    # Of several babysitters in one fit, the first.
    checks = [record for record in checks if record.detail["monitor"] == checks[0].detail["monitor"]]
    losses = [(int(step), float(loss)) for record in states for step, loss in record.detail.get("losses", [])]
    knots = [knot for record in states for knot in record.detail.get("course", [])]
    groups = range(max((len(lrs) for _, lrs, _ in knots), default=0))
    momenta = [_line((step, group, values) for step, _, values in knots) for group in groups]
    return BabysatRun(
        monitor=str(checks[0].detail["monitor"]) if checks else "the metric",
        values=[(record.step, value) for record in checks if (value := record.number("value")) is not None],
        losses=losses,
        lrs=[_line((step, group, values) for step, values, _ in knots) for group in groups],
        momenta=[line for line in momenta if line],
        marks=[_mark(record) for record in records if record.intervenes],
        discarded=discarded(records, max((record.step for record in records), default=0)),
    )


def _line(knots: Iterable[tuple[int, int, Sequence[Any]]]) -> Points:
    """One group's numbers, where there are any."""
    return [(step, float(values[group])) for step, group, values in knots if len(values) > group and values[group] is not None]


def _mark(record: Record) -> Mark:
    kinds = [type(action) for action in record.actions]
    # Whoever wanted it, the curves do not go on from what was before.
    if Rollback in kinds:
        return Mark(record.step, "went back", record.sentence())
    if record.event == "request":
        return Mark(record.step, "asked", record.sentence())
    if Stop in kinds:
        return Mark(record.step, "stopped", record.sentence())
    return Mark(record.step, "skipped" if Skip in kinds else "moved", record.sentence())
