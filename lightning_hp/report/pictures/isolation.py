"""Isolation plots: the best that was reached as a function of one hyperparameter, whatever the others were.

As in Godbole et al., Deep Learning Tuning Playbook, 2023: trials are put into bins of one hyperparameter, and the best of each
is shown, so that a value is not blamed for what the others were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.report.bootstrap import best_of
from lightning_hp.report.pictures.hyperparameters import HEIGHT, MARGINS, label_left
from lightning_hp.report.searched import Searched, values_of
from lightning_hp.report.style import ACCENT, PAPER, QUIET, RANKS, Width, panels, rules
from lightning_hp.report.ticks import draw_scale
from lightning_hp.report.window import Window, draw_values, window
from lightning_hp.space.scales import Choice, Int, LogInt, Scale
from lightning_hp.trial import Mode

Array = NDArray[np.float64]
LEAST_TRIALS, MOST_BINS, PER_BIN = 6, 10, 4
# Of ten repetitions of a bin's trials, nine would have come so far.
SURE = 0.9


@dataclass(frozen=True)
class Bin:
    """Trials whose hyperparameter lies in a part of its scale.

    Attributes:
        low: where the part begins, on the unit interval.
        high: where it ends.
        best: the best value of its trials.
        sure: what the best of as many trials, drawn from these with replacement, is at least as good as in nine of ten cases.
        count: how many trials there are.
    """

    low: float
    high: float
    best: float
    sure: float
    count: int


def draw_isolation(searched: Searched, width: Width) -> Any:
    """Draws a panel for each hyperparameter: for parts of its scale the best trial, a bar down to what nine of ten repetitions
    would have reached, and how many trials there are."""
    trials = [trial for trial in searched.ranked if trial.state == "complete"]
    if len(trials) < LEAST_TRIALS:
        return None
    values = values_of(trials)
    found = {
        name: bins(scale, searched.positions(name, trials), values, searched.mode) for name, scale in searched.scales.items()
    }
    bests = np.array([part.best for each in found.values() for part in each])
    shows = window(bests, searched.mode, far=3.0, log=window(values, searched.mode).log)
    figure, parts = panels(len(found), width, HEIGHT, MARGINS, sharey=width == "wide")
    for axes, (name, scale) in zip(parts, searched.scales.items(), strict=True):
        _draw_bins(axes, found[name], shows, isinstance(scale, Choice), searched.mode)
        draw_scale(axes, scale)
        draw_values(axes, shows)
        rules(axes)
        axes.set_title(name, pad=14)
    label_left(parts, searched.monitor, width)
    return figure


def bins(scale: Scale, units: Array, values: Array, mode: Mode) -> list[Bin]:
    """The trials in equal parts of a scale, a choice's by its values; parts without trials are left out."""
    there = np.isfinite(units)
    units, values = units[there], values[there]
    count = int(np.clip(len(units) // PER_BIN, 2, MOST_BINS))
    if isinstance(scale, Choice):
        count = len(scale.values)
    elif isinstance(scale, (Int, LogInt)) and scale.high - scale.low < count:
        count = scale.high - scale.low + 1
    index = np.minimum((units * count).astype(int), count - 1)
    made = []
    for part in np.unique(index):
        inside = values[index == part]
        best, sure = inside.min() if mode == "min" else inside.max(), best_of(inside, mode, len(inside), SURE)
        made.append(Bin(part / count, (part + 1) / count, float(best), float(sure), len(inside)))
    return made


def _draw_bins(axes: Any, found: list[Bin], shows: Window, apart: bool, mode: Mode) -> None:
    middles = np.array([(each.low + each.high) / 2 for each in found])
    bests = np.array([each.best for each in found])
    best = shows.clipped(bests)
    sure = shows.clipped(np.array([each.sure for each in found]))
    axes.vlines(middles, best, sure, color=ACCENT, linewidth=5, alpha=0.3, zorder=2)
    if not apart:
        axes.plot(middles, best, color=ACCENT, linewidth=1, zorder=2)
    beyond = shows.beyond(bests)
    # Of one or two trials, nobody knows what others would have come to.
    few = np.array([each.count < 3 for each in found], dtype=bool)
    style = {"color": ACCENT, "markersize": 4.5, "zorder": 3, "clip_on": False}
    axes.plot(middles[~few & ~beyond], best[~few & ~beyond], "o", **style)
    axes.plot(middles[few & ~beyond], best[few & ~beyond], "o", markerfacecolor=PAPER, **style)
    axes.plot(middles[beyond], best[beyond], "^" if mode == "min" else "v", **style)
    if len(found):
        first = int(best.argmin() if mode == "min" else best.argmax())
        axes.plot(middles[[first]], best[[first]], "*", color=RANKS[0], markersize=11, markeredgecolor=PAPER, zorder=4)
    for middle, each in zip(middles, found, strict=True):
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(str(each.count), (middle, 1), xytext=(0, 1), ha="center", va="bottom", fontsize=6.5, color=QUIET, **where)
