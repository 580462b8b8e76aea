"""The best value so far, and what it would be if the same trials had come in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.report.bootstrap import best_of
from lightning_hp.report.searched import Searched, values_of
from lightning_hp.report.style import ACCENT, MOST_DRAWN, PAPER, QUIET, RANKS, Margins, Width, rules, single
from lightning_hp.report.ticks import decades
from lightning_hp.report.window import draw_values, window
from lightning_hp.trial import Mode, is_better

Array = NDArray[np.float64]
# Of the band: nine of ten searches lie in it.
LOWER, UPPER = 0.05, 0.95
_HEIGHTS: dict[Width, float] = {"wide": 2.7, "narrow": 2.3}


def draw_best(searched: Searched, width: Width) -> Any:
    """Draws each trial's value, the best so far as steps, and behind them a band: the best of as many trials drawn from all
    of these with replacement, from the 5% to the 95% quantile, with its median."""
    finished = [trial for trial in searched.trials if trial.finished]
    if searched.best is None:
        return None
    figure, axes = single(width, _HEIGHTS[width], Margins(bottom=0.45, top=0.4))
    # What is no candidate for the best has its place among the trials all the same.
    values = values_of(finished)
    values[[trial.state != "complete" for trial in finished]] = np.nan
    shows = window(values, searched.mode, far=1.0)
    draw_values(axes, shows)
    rules(axes)
    counts = np.arange(1, len(finished) + 1)
    lower, median, upper = (best_of(values, searched.mode, counts, quantile) for quantile in (LOWER, 0.5, UPPER))
    band = {"color": ACCENT, "alpha": 0.18, "linewidth": 0, "step": "post", "label": "random draws"}
    axes.fill_between(counts, shows.clipped(lower), shows.clipped(upper), **band)
    dashes = {"linewidth": 1, "linestyle": (0, (4, 2)), "where": "post"}
    axes.step(counts, shows.clipped(median), color=ACCENT, label="their median", **dashes)
    inside = np.isfinite(values) & ~shows.beyond(values)
    dense = len(finished) > MOST_DRAWN
    axes.plot(
        counts[inside], values[inside], ".", color=QUIET, markersize=4 if not dense else 2, rasterized=dense, label="a trial"
    )
    beyond = np.isfinite(values) & shows.beyond(values)
    arrow = "^" if searched.mode == "min" else "v"
    axes.plot(
        counts[beyond], shows.clipped(values[beyond]), arrow, color=QUIET, markersize=3.5, clip_on=False, rasterized=dense
    )
    reached = running_best(values, searched.mode)
    # From the first that completed.
    there = np.isfinite(reached)
    axes.step(counts[there], reached[there], where="post", color=RANKS[0], linewidth=1.9, label="best so far")
    last = int(np.flatnonzero(reached == reached[there][-1])[0])
    axes.plot([counts[last]], [reached[last]], "o", color=RANKS[0], markersize=6, markeredgecolor=PAPER, clip_on=False)
    _count_axis(axes, len(finished))
    axes.set_xlabel("finished trials")
    axes.set_ylabel(searched.monitor)
    columns = 4 if width == "wide" else 2
    where = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.04), "borderaxespad": 0.0}
    axes.legend(ncols=columns, handlelength=1.6, columnspacing=1.4, **where)
    return figure


def _count_axis(axes: Any, count: int) -> None:
    """Trials, on a log axis where there are many: most is found early."""
    if count > MOST_DRAWN:
        ticks = [int(tick) for tick in decades(1, count, (1, 3))]
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xticks([], minor=True)
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlim(min(1, count - 1), count)


def running_best(values: Array, mode: Mode) -> Array:
    """The best value up to each trial; NaN before there is one.

    >>> running_best(np.array([np.nan, 0.5, 0.7, 0.3]), "min").tolist()
    [nan, 0.5, 0.5, 0.3]
    """
    best: float | None = None
    reached = np.full(len(values), np.nan)
    for index, value in enumerate(values.tolist()):
        if is_better(value, best, mode):
            best = value
        reached[index] = np.nan if best is None else best
    return reached
