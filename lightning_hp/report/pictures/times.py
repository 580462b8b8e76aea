"""When trials ran, one beside the other."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from lightning_hp.report.searched import Searched
from lightning_hp.report.style import ACCENT, BAD, GOOD, MOST_DRAWN, PAPER, QUIET, Margins, Width, rules, single

_STATES = {
    "complete": (ACCENT, ("complete",)),
    "pruned": (QUIET, ("pruned",)),
    "failed or diverged": (BAD, ("failed", "diverged")),
    "running": (GOOD, ("running",)),
}
Span = tuple[float, float]


def draw_times(searched: Searched, width: Width) -> Any:
    """Draws a bar for each trial from its beginning to its end, those that ran at the same time below each other.

    Time in which nothing ran is cut out, at dotted lines.
    """
    spans = spans_of(searched)
    if not spans or max(end for _, end in spans.values()) <= min(start for start, _ in spans.values()):
        return None
    from matplotlib.collections import PolyCollection

    busy = busy_times(list(spans.values()))
    states = {trial.number: trial.state for trial in searched.trials}
    rows = lanes(spans)
    count = max(rows.values()) + 1
    height = min(max(0.16 * count, 0.35), 2.6)
    figure, axes = single(width, height, Margins(bottom=0.45, top=0.35))
    unit, name = _unit(sum(end - start for start, end in busy))
    for label, (colour, alike) in _STATES.items():
        numbers = [number for number in spans if states[number] in alike]
        if not numbers:
            continue
        bars = [_bar(spans[number], rows[number], busy, unit) for number in numbers]
        line = 0.5 if len(spans) <= MOST_DRAWN else 0.0
        dense = len(spans) > MOST_DRAWN
        shape = PolyCollection(bars, facecolors=colour, edgecolors=PAPER, linewidths=line, label=label, rasterized=dense)
        axes.add_collection(shape, autolim=False)
    for _, end in busy[:-1]:
        axes.axvline(elapsed(end, busy) / unit, color=QUIET, linestyle=":", linewidth=1)
    rules(axes, "x")
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_yticks([0, count - 1] if count > 1 else [0], ["1", str(count)] if count > 1 else ["1"])
    axes.set_xlim(0, sum(end - start for start, end in busy) / unit)
    axes.set_xlabel(f"time, {name}")
    axes.set_ylabel("at a time" if count > 3 else "")
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1.0), ncols=3 if width == "narrow" else 6, handlelength=1, borderaxespad=0.2
    )
    return figure


def _bar(span: Span, row: int, busy: Sequence[Span], unit: float) -> list[tuple[float, float]]:
    left, right = (elapsed(time, busy) / unit for time in span)
    return [(left, row - 0.4), (right, row - 0.4), (right, row + 0.4), (left, row + 0.4)]


def spans_of(searched: Searched) -> dict[int, Span]:
    """When each trial began and ended, by number; one that runs, up to the last thing that is known."""
    known = [time for span in searched.times.values() for time in span if time is not None]
    now = max(known, default=0.0)
    spans = {number: (start, now if end is None else end) for number, (start, end) in searched.times.items()}
    states = {trial.number: trial.state for trial in searched.trials}
    return {number: (start, max(start, end)) for number, (start, end) in spans.items() if states.get(number) != "waiting"}


def busy_times(spans: Sequence[Span], gap: float = 0.1) -> list[Span]:
    """The stretches of time in which some trial ran, with the short gaps between them, as from one trial to the next.

    Args:
        spans: of the trials.
        gap: the shortest time to be left out, as a part of the time from the first to the last.

    >>> busy_times([(0.0, 10.0), (5.0, 12.0), (12.5, 20.0), (500.0, 510.0)])
    [(0.0, 20.0), (500.0, 510.0)]
    """
    ordered = sorted(spans)
    least = gap * (max(end for _, end in ordered) - ordered[0][0])
    busy: list[Span] = []
    for start, end in ordered:
        if busy and start - busy[-1][1] <= least:
            busy[-1] = (busy[-1][0], max(busy[-1][1], end))
        else:
            busy.append((start, end))
    return busy


def elapsed(time: float, busy: Sequence[Span]) -> float:
    """How much of the busy time had passed by then."""
    return sum(min(max(time - start, 0.0), end - start) for start, end in busy)


def lanes(spans: dict[int, Span]) -> dict[int, int]:
    """A row for each, such that no two that run at the same time share one.

    >>> lanes({0: (0.0, 2.0), 1: (1.0, 3.0), 2: (2.0, 4.0)})
    {0: 0, 1: 1, 2: 0}
    """
    running: list[tuple[float, int]] = []
    free: list[int] = []
    rows: dict[int, int] = {}
    for number, (start, end) in sorted(spans.items(), key=lambda each: each[1]):
        while running and running[0][0] <= start:
            heapq.heappush(free, heapq.heappop(running)[1])
        rows[number] = heapq.heappop(free) if free else len(running)
        heapq.heappush(running, (end, rows[number]))
    return rows


def _unit(seconds: float) -> tuple[float, str]:
    return (1.0, "s") if seconds < 180 else (60.0, "min") if seconds < 10800 else (3600.0, "h")
