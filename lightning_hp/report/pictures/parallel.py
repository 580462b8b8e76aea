"""Parallel coordinates: each trial a line through its hyperparameters, each in its own scale, to its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.report.searched import Searched, values_of
from lightning_hp.report.style import (
    INK,
    MOST_COLOURED,
    MOST_DRAWN,
    PAPER,
    QUIET,
    Margins,
    Width,
    cut,
    rank_colours,
    single,
    thinned,
)
from lightning_hp.report.ticks import labels, shown
from lightning_hp.report.window import Window, window
from lightning_hp.space.scales import Choice, Scale

Array = NDArray[np.float64]
_LETTERS: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": INK, "zorder": 5}
_TITLE: dict[str, Any] = {**_LETTERS, "fontsize": 8.5, "fontweight": "bold"}
# Paper behind letters that lie on lines.
_HALO = {"facecolor": PAPER, "alpha": 0.75, "edgecolor": "none", "pad": 0.8}


def draw_parallel(searched: Searched, width: Width) -> Any:
    """Draws a line for each trial that has a value, coloured by rank: across axes that stand, or on a phone down axes that lie
    one below the other. A line is broken where a trial lacks a hyperparameter."""
    ranked = thinned(searched.ranked)
    if len(ranked) < 2:
        return None
    shows = window(values_of(searched.ranked), searched.mode)
    units = [searched.positions(name, ranked) for name in searched.scales]
    points = np.column_stack([*units, shows.unit(values_of(ranked))])
    count = points.shape[1]
    lying = width == "narrow"
    if lying:
        figure, axes = single(width, 0.62 * count, Margins(left=0.2, right=0.2, bottom=0.3, top=0.3))
    else:
        figure, axes = single(width, 3.3, Margins(left=0.55, right=0.55, bottom=0.35, top=0.35))
    _lines(axes, points, lying)
    shown_axes: list[tuple[str, Scale | Window]] = [*searched.scales.items(), (searched.monitor, shows)]
    for index, (name, scale) in enumerate(shown_axes):
        places, texts = _labelled(scale, lying)
        if lying:
            _lying(axes, index, name, places, texts)
        else:
            _standing(axes, index, name, places, texts, count)
    ends = (-0.02, 1.02)
    if lying:
        axes.set_xlim(*ends)
        axes.set_ylim(count - 0.8, -0.35)
    else:
        axes.set_xlim(-0.02, count - 0.98)
        axes.set_ylim(*ends)
    axes.axis("off")
    return figure


def _lines(axes: Any, points: Array, lying: bool) -> None:
    from matplotlib.collections import LineCollection

    places = np.broadcast_to(np.arange(points.shape[1], dtype=float), points.shape)
    lines = np.stack([points, places] if lying else [places, points], axis=2)
    colours = rank_colours(len(lines))
    dense = len(lines) > MOST_DRAWN
    split = MOST_COLOURED if dense else len(lines)
    # The best last, so that they lie on top.
    if dense:
        rest = LineCollection(list(lines[split:][::-1]), colors=QUIET, linewidths=0.4, alpha=0.15, rasterized=True)
        axes.add_collection(rest, autolim=False)
    sizes = [1.8 if rank < 3 else 0.9 for rank in range(split)][::-1]
    top = LineCollection(list(lines[:split][::-1]), colors=colours[:split][::-1], linewidths=sizes, alpha=0.8)
    axes.add_collection(top, autolim=False)


def _labelled(scale: Scale | Window, lying: bool) -> tuple[Sequence[float], Sequence[str]]:
    if isinstance(scale, Window):
        return (0.0, 1.0), (shown(float(f"{scale.low:.3g}")), shown(float(f"{scale.high:.3g}")))
    places, texts = labels(scale, 0.2 if lying else 0.12)
    if isinstance(scale, Choice):
        texts = [cut(text, max((40 if lying else 10 * len(texts)) // len(texts), 3)) for text in texts]
    return places, texts


def _standing(axes: Any, index: int, name: str, places: Sequence[float], texts: Sequence[str], count: int) -> None:
    axes.plot([index, index], [0, 1], color=QUIET, linewidth=0.9, zorder=3)
    last = index == count - 1
    shift, side = ((5, 0), "left") if last else ((-5, 0), "right")
    for place, text in zip(places, texts, strict=True):
        axes.annotate(text, (index, place), xytext=shift, ha=side, va="center", bbox=_HALO, **_LETTERS)
    side = "left" if index == 0 else "right" if last else "center"
    axes.annotate(cut(name, max(100 // count, 6)), (index, 1), xytext=(0, 9), ha=side, va="bottom", **_TITLE)


def _lying(axes: Any, index: int, name: str, places: Sequence[float], texts: Sequence[str]) -> None:
    axes.plot([0, 1], [index, index], color=QUIET, linewidth=0.9, zorder=3)
    for place, text in zip(places, texts, strict=True):
        axes.annotate(text, (place, index), xytext=(0, -3), ha="center", va="top", bbox=_HALO, **_LETTERS)
    axes.annotate(cut(name, 40), (0, index), xytext=(0, 4), ha="left", va="bottom", bbox=_HALO, **_TITLE)
