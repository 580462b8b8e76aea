"""A babysat fit as a picture: its curves, lr and momentum on their own scales, and what was done, when and why."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from lightning_hp.errors import ConfigError

Points: TypeAlias = Sequence[tuple[float, float]]

# Of what was done, in words below the picture.
MOST_WORDS = 25
# Of the picture and of a line of words, in inches.
_WIDTH, _LINE = 9.0, 0.155
_INK, _QUIET, _METRIC, _LOSS = "#1f2933", "#9aa5b1", "#0f7b8a", "#7b8794"
_COLORS = {"moved": "#b7791f", "went back": "#c0392b", "skipped": "#6b46c1", "stopped": "#1f2933", "asked": "#2b6cb0"}
# Momenta that people use, for labels.
_MOMENTA = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


@dataclass(frozen=True)
class Mark:
    """Something that was done to a fit.

    Attributes:
        step: the optimizer steps made before it.
        kind: what, which gives its colour; `"asked"` is what a person asked for.
        words: what and why.
    """

    step: int
    kind: Literal["moved", "went back", "skipped", "stopped", "asked"]
    words: str


@dataclass(frozen=True)
class BabysatRun:
    """What a picture of a babysat fit shows, all by optimizer steps.

    Attributes:
        monitor: the metric's name.
        values: of the metric, at each check.
        losses: of training.
        lrs: per parameter group.
        momenta: per parameter group that has one.
        marks: what was done, in order.
        discarded: stretches that a rollback has undone, as first step and the one after the last.
    """

    monitor: str
    values: Points
    losses: Points
    lrs: Sequence[Points]
    momenta: Sequence[Points]
    marks: Sequence[Mark]
    discarded: Sequence[tuple[int, int]]


def draw_babysat(run: BabysatRun, path: str | Path | None = None) -> Any:
    """Draws the metric, the training loss, lr and momentum one below the other, and what was done through all of them.

    Lines with a number are what was done, in words below; grey are the stretches that a rollback has undone; crosses at the
    upper edge are values that were not finite.

    Args:
        run: what to draw.
        path: where to, by its ending .png, .svg or .pdf; None writes no file.

    Returns:
        The figure, of matplotlib.

    Raises:
        ConfigError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ConfigError("pictures need matplotlib: pip install 'lightning-hp[plots]'") from None
    words = _words(run)
    panels = [
        _draw_metric,
        *[_draw_loss] * bool(run.losses),
        *[_draw_lr] * bool(run.lrs),
        *[_draw_momentum] * bool(run.momenta),
    ]
    heights = [_HEIGHTS[panel] for panel in panels]
    below = _LINE * len(words) + 0.7
    height = sum(heights) + below + 0.3
    figure = Figure(figsize=(_WIDTH, height))
    edges = {"left": 0.85 / _WIDTH, "right": 1 - 0.15 / _WIDTH, "bottom": below / height, "top": 1 - 0.3 / height}
    parts: Any = figure.subplots(
        len(panels), 1, squeeze=False, sharex=True, height_ratios=heights, gridspec_kw=edges | {"hspace": 0.12}
    )[:, 0]
    for panel, axes in zip(panels, parts, strict=True):
        panel(axes, run)
        _dress(axes, run)
    parts[-1].set_xlabel("optimizer step", color=_INK, fontsize=9)
    _number(parts[0], run.marks)
    for line, (text, color) in enumerate(words):
        top = (below - 0.55 - _LINE * (line + 0.5)) / height
        figure.text(edges["left"], top, text, color=color, fontsize=7.5, va="center", parse_math=False)
    if path is not None:
        try:
            figure.savefig(path, dpi=130)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
    return figure


def _draw_metric(axes: Any, run: BabysatRun) -> None:
    _curve(axes, _broken(run.values, run, 0.5), _METRIC, marker="o", markersize=2.5, linewidth=1.2)
    axes.set_ylabel(run.monitor, color=_INK, fontsize=9)


def _draw_loss(axes: Any, run: BabysatRun) -> None:
    _curve(axes, _broken(run.losses, run, -0.5), _LOSS, linewidth=0.8)
    axes.set_ylabel("training loss", color=_INK, fontsize=9)


def _draw_lr(axes: Any, run: BabysatRun) -> None:
    for points in run.lrs:
        _curve(axes, points, _METRIC, linewidth=1.2, alpha=_alpha(run.lrs), log=True)
    axes.set_ylabel("lr", color=_INK, fontsize=9)


def _draw_momentum(axes: Any, run: BabysatRun) -> None:
    heights = []
    for points in run.momenta:
        steps, momenta = _columns(points)
        heights.append(_reverse_log(momenta))
        axes.plot(steps, heights[-1], color=_METRIC, linewidth=1.2, alpha=_alpha(run.momenta))
    low, high = min(map(np.nanmin, heights)), max(map(np.nanmax, heights))
    margin = 0.15 * max(high - low, 0.3)
    axes.set_ylim(low - margin, high + margin)
    inside = [momentum for momentum in _MOMENTA if low - margin <= _reverse_log(np.array(momentum)) <= high + margin]
    # As few as can be read.
    inside = inside[:: -(-len(inside) // 5)] if inside else [float(1 - 10**-low)]
    axes.set_yticks(
        [float(_reverse_log(np.array(momentum))) for momentum in inside], [f"{momentum:.4g}" for momentum in inside]
    )
    axes.set_ylabel("momentum", color=_INK, fontsize=9)


# In inches.
_HEIGHTS = {_draw_metric: 2.6, _draw_loss: 1.6, _draw_lr: 1.1, _draw_momentum: 0.9}


def _curve(axes: Any, points: Points, color: str, log: bool | None = None, **style: Any) -> None:
    """A line with gaps where values are not finite, which are crosses at the upper edge; on a log scale if it spans decades."""
    steps, values = _columns(points)
    finite, gaps = np.isfinite(values), steps % 1 > 0
    positive = finite.any() and values[finite].min() > 0
    if positive and (log or (log is None and values[finite].max() > 10 * values[finite].min())):
        axes.set_yscale("log")
    axes.plot(steps, np.where(finite, values, np.nan), color=color, **style)
    steps = steps[~finite & ~gaps]
    upper = axes.get_xaxis_transform()
    axes.plot(steps, np.ones(len(steps)), "x", color=_COLORS["went back"], markersize=4, transform=upper, clip_on=False)


def _broken(points: Points, run: BabysatRun, beside: float) -> Points:
    """The points with a gap where the fit went back: what follows does not go on from what was before.

    At that very step a check lies before it, and a training loss after.
    """
    gaps = [(mark.step + beside, math.nan) for mark in run.marks if mark.kind == "went back"]
    return sorted([*points, *gaps])


def _dress(axes: Any, run: BabysatRun) -> None:
    for start, end in run.discarded:
        axes.axvspan(start, end, color=_QUIET, alpha=0.28, linewidth=0, zorder=0)
    for mark in run.marks:
        axes.axvline(mark.step, color=_COLORS[mark.kind], linewidth=0.9, alpha=0.8, zorder=1)
    axes.tick_params(colors=_INK, length=2, labelsize=8)
    axes.grid(axis="y", color=_QUIET, alpha=0.25, linewidth=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.margins(x=0.01)


def _number(axes: Any, marks: Sequence[Mark]) -> None:
    """Numbers above the lines; those that stand close together get one, of the first to the last."""
    width = max(axes.get_xlim()[1] - axes.get_xlim()[0], 1)
    groups: list[list[int]] = []
    for number, mark in enumerate(marks, start=1):
        if groups and mark.step - marks[groups[-1][0] - 1].step < 0.025 * width:
            groups[-1].append(number)
        else:
            groups.append([number])
    for group in groups:
        mark = marks[group[0] - 1]
        text = str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}"
        axes.annotate(
            text,
            (mark.step, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=_COLORS[mark.kind],
        )


def _words(run: BabysatRun) -> list[tuple[str, str]]:
    """What was done in lines of text with their colours."""
    marks, lines = run.marks, []
    for number, mark in enumerate(marks[:MOST_WORDS], start=1):
        wrapped = textwrap.wrap(f"{number}.  step {mark.step}: {mark.words}", 150, subsequent_indent="      ")
        lines += [(line, _COLORS[mark.kind]) for line in wrapped]
    if len(marks) > MOST_WORDS:
        lines.append((f"and {len(marks) - MOST_WORDS} more in babysit.jsonl", _INK))
    undone = sum(end - start for start, end in run.discarded)
    if undone:
        lines.append((f"grey: {undone} steps that were undone by going back", _QUIET))
    return lines


def _columns(points: Points) -> tuple[Any, Any]:
    table = np.array(points, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _reverse_log(momenta: Any) -> Any:
    return -np.log10(np.maximum(1.0 - momenta, 1e-6))


def _alpha(lines: Sequence[Points]) -> float:
    return max(1.0 / math.sqrt(len(lines)), 0.2)
