"""The learning curves of all trials, coloured by rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.report.searched import Searched
from lightning_hp.report.style import (
    BAD,
    INK,
    MOST_COLOURED,
    MOST_DRAWN,
    PAPER,
    QUIET,
    Margins,
    Width,
    apart,
    rank_colours,
    rank_key,
    rules,
    single,
    thinned,
)
from lightning_hp.report.window import Window, draw_values, window
from lightning_hp.trial import Trial

Array = NDArray[np.float64]
# So many of the best are labelled.
NAMED = 3
# The area of a curve that is one epoch long.
_POINT = 10
_HEIGHTS: dict[Width, float] = {"wide": 3.3, "narrow": 2.6}


def draw_curves(searched: Searched, width: Width) -> Any:
    """Draws the monitored metric over the epochs, a line a trial, the best trials on top and named.

    A trial of one epoch is a point. Crosses are where failed and diverged trials ended; lines without a rank's colour are
    those of trials that have none.
    """
    ranked = searched.ranked
    others = [trial for trial in searched.trials if trial.value is None]
    curves = {trial.number: _curve(trial, searched.monitor) for trial in [*ranked, *others]}
    if not any(len(curve) > 1 for curve in curves.values()):
        return None
    figure, axes = single(width, _HEIGHTS[width], Margins(right=0.75, bottom=0.45, top=0.4))
    shows = window(np.concatenate(list(curves.values())), searched.mode)
    draw_values(axes, shows)
    rules(axes)
    dense = len(curves) > MOST_DRAWN
    rest, top = thinned(others), thinned(ranked)
    _lines(axes, [curves[trial.number] for trial in rest], [QUIET] * len(rest), 0.7, 0.6, dense)
    colours = rank_colours(len(top))
    # The best last, so that they lie on top.
    for first, last, size, alpha, pixels in _layers(len(top), dense):
        part = [curves[trial.number] for trial in reversed(top[first:last])]
        _lines(axes, part, colours[first:last][::-1], size, alpha, pixels)
    _ends(axes, [curves[trial.number] for trial in thinned(searched.bad)], shows, dense)
    longest = max(map(len, curves.values()))
    axes.set_xlim(1, max(longest, 2))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel(searched.monitor)
    named = [trial for trial in ranked[:NAMED] if trial.state == "complete" and np.isfinite(curves[trial.number]).any()]
    _name(axes, named, curves, shows, _HEIGHTS[width])
    if ranked:
        rank_key(axes, len(ranked))
    return figure


def _layers(count: int, dense: bool) -> list[tuple[int, int, float, float, bool]]:
    """Which ranks are drawn together: from, to, the lines' width and opacity, and whether as pixels."""
    if not dense:
        return [(NAMED, count, 0.9, 0.75, False), (0, NAMED, 1.9, 1.0, False)]
    return [(MOST_COLOURED, count, 0.5, 0.25, True), (NAMED, MOST_COLOURED, 0.8, 0.7, False), (0, NAMED, 1.9, 1.0, False)]


def _lines(axes: Any, curves: Sequence[Array], colours: Sequence[str], size: float, alpha: float, pixels: bool) -> None:
    from matplotlib.collections import LineCollection

    lines = [np.column_stack([np.arange(1, len(curve) + 1), curve]) for curve in curves]
    # Of a metric that is logged every few epochs, only those.
    lines = [line[np.isfinite(line[:, 1])] for line in lines]
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=size, alpha=alpha, rasterized=pixels), autolim=False)
    # A line of one epoch, as a pruned trial may have, shows nothing.
    points = [(*line[0], colour) for line, colour in zip(lines, colours, strict=True) if len(line) == 1]
    if points:
        epochs, values, inks = zip(*points, strict=True)
        axes.scatter(epochs, values, s=_POINT, c=inks, alpha=alpha, linewidths=0, rasterized=pixels, clip_on=False)


def _ends(axes: Any, curves: Sequence[Array], shows: Window, dense: bool) -> None:
    ends = [(np.flatnonzero(np.isfinite(curve))[-1], curve) for curve in curves if np.isfinite(curve).any()]
    if ends:
        heights = shows.clipped(np.array([curve[last] for last, curve in ends]))
        steps = [last + 1 for last, _ in ends]
        axes.plot(steps, heights, "x", color=BAD, markersize=4.5, markeredgewidth=1, clip_on=False, rasterized=dense)


def _name(axes: Any, named: Sequence[Trial], curves: dict[int, Array], shows: Window, height: float) -> None:
    """The best trials' numbers at the right edge, apart from each other, and a ring at the best one's best epoch."""
    if not named:
        return
    lasts = [curves[trial.number][np.isfinite(curves[trial.number])][-1] for trial in named]
    at = apart(shows.unit(np.array(lasts)).tolist(), 0.16 / height)
    for rank, (trial, up) in enumerate(zip(named, at, strict=True)):
        axes.annotate(
            f"trial {trial.number}",
            (1, up),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
            fontweight="bold" if rank == 0 else "normal",
        )
    curve = curves[named[0].number]
    epoch = int(np.nanargmin(np.abs(curve - (named[0].value or 0.0))))
    axes.plot([epoch + 1], curve[[epoch]], "o", color=rank_colours(1)[0], markersize=6, markeredgecolor=PAPER, clip_on=False)


def _curve(trial: Trial, monitor: str) -> Array:
    return np.array([np.nan if value is None else value for value in trial.metrics.get(monitor, ())], dtype=float)
