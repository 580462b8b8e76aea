"""Each hyperparameter against the objective, in its own scale, with its ends marked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.report.searched import Searched, values_of
from lightning_hp.report.style import (
    BAD,
    GOOD,
    MOST_COLOURED,
    MOST_DRAWN,
    PAPER,
    QUIET,
    RANKS,
    Margins,
    Width,
    panels,
    rank_colours,
    rules,
    thinned,
)
from lightning_hp.report.ticks import draw_scale
from lightning_hp.report.window import Window, draw_values, window
from lightning_hp.space.scales import Choice, Int, Scale

Array = NDArray[np.float64]
HEIGHT = 1.65
MARGINS = Margins(bottom=0.35, top=0.4, under=0.68)
# Whole numbers and choices, of which trials share values, are spread by so much of a value's own part of the axis.
SPREAD = 0.6


def draw_hyperparameters(searched: Searched, width: Width) -> Any:
    """Draws a panel for each hyperparameter: a point a trial, coloured by rank, the best one as a star.

    Vertical lines are the ends of the range that was searched; one at which the best trials crowd is dashed, with an arrow.
    Crosses above are trials that failed or diverged; triangles are values beyond the axis.
    """
    if not searched.ranked:
        return None
    shows = window(values_of(searched.ranked), searched.mode)
    figure, parts = panels(len(searched.scales), width, HEIGHT, MARGINS, sharey=width == "wide")
    for axes, (name, scale) in zip(parts, searched.scales.items(), strict=True):
        _ends(axes, searched, name)
        _trials(axes, searched, name, scale, shows)
        draw_scale(axes, scale)
        draw_values(axes, shows)
        rules(axes)
        # The lower end of the range stands in its place.
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(name)
    label_left(parts, searched.monitor, width)
    return figure


def label_left(parts: list[Any], text: str, width: Width) -> None:
    """The objective's name beside the panels that stand leftmost."""
    for axes in parts[:: 3 if width == "wide" else 1]:
        axes.set_ylabel(text)


def spread(scale: Scale, units: Array, numbers: Array) -> Array:
    """Positions, moved apart by the trials' numbers where many share a value."""
    cells = len(scale.values) if isinstance(scale, Choice) else scale.high - scale.low + 1 if isinstance(scale, Int) else 0
    if not 0 < cells <= 12:
        return units
    # The golden ratio puts each far from the ones before it.
    moved: Array = units + ((numbers * 0.6180339887) % 1.0 - 0.5) * SPREAD / cells
    return moved


def _ends(axes: Any, searched: Searched, name: str) -> None:
    found = searched.findings
    for upper in (False, True):
        wide = (name, upper) in found.wider
        axes.axvline(
            float(upper), color=GOOD if wide else QUIET, linewidth=1.6 if wide else 0.8, linestyle="--" if wide else "-"
        )
        if wide:
            way = 1 if upper else -1
            style = {"arrowstyle": "->", "color": GOOD, "linewidth": 1.6}
            where = {"xycoords": ("data", "axes fraction"), "textcoords": ("data", "axes fraction")}
            axes.annotate(
                "", (upper + 0.1 * way, 0.5), xytext=(float(upper), 0.5), arrowprops=style, annotation_clip=False, **where
            )
    limit = found.limit
    if limit is not None and limit.name == name and limit.side != "at":
        across = (limit.unit, 1.0) if limit.side == "above" else (0.0, limit.unit)
        axes.axvspan(*across, color=BAD, alpha=0.1, linewidth=0)


def _trials(axes: Any, searched: Searched, name: str, scale: Scale, shows: Window) -> None:
    ranked, bad = thinned(searched.ranked), thinned(searched.bad)
    numbers = np.array([trial.number for trial in ranked], dtype=float)
    units = spread(scale, searched.positions(name, ranked), numbers)
    values, colours = values_of(ranked), np.array(rank_colours(len(ranked)))
    beyond = shows.beyond(values)
    dense = len(ranked) > MOST_DRAWN
    split = MOST_COLOURED if dense else 0
    size = 14 if not dense else 9
    if dense:
        rest = ~beyond & (np.arange(len(ranked)) >= split)
        axes.scatter(units[rest], values[rest], c=QUIET, s=4, alpha=0.5, linewidths=0, rasterized=True)
    top = ~beyond & (np.arange(len(ranked)) < (split or len(ranked)))
    # The worst first, so that the best lie on top.
    axes.scatter(units[top][::-1], values[top][::-1], c=colours[top][::-1], s=size, alpha=0.9, linewidths=0, zorder=3)
    up = "^" if searched.mode == "min" else "v"
    axes.plot(units[beyond], shows.clipped(values[beyond]), up, color=QUIET, markersize=3, clip_on=False, rasterized=dense)
    numbers = np.array([trial.number for trial in bad], dtype=float)
    places = spread(scale, searched.positions(name, bad), numbers)
    edge = shows.high if searched.mode == "min" else shows.low
    axes.plot(places, np.full(len(bad), edge), "x", color=BAD, markersize=3.5, clip_on=False, rasterized=dense, zorder=4)
    if searched.best is not None:
        axes.plot(units[:1], values[:1], "*", color=RANKS[0], markersize=11, markeredgecolor=PAPER, zorder=5, clip_on=False)
