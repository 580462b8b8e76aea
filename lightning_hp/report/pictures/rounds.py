"""Where each round of a search put its trials, and to what it had zoomed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_hp.report.searched import Searched
from lightning_hp.report.style import ACCENT, BAD, MOST_DRAWN, QUIET, Margins, Width, panels, rank_colours, thinned
from lightning_hp.report.ticks import draw_scale
from lightning_hp.space.scales import Choice, Scale
from lightning_hp.trial import RoundBegan


def draw_regions(searched: Searched, width: Width) -> Any:
    """The picture of `draw_rounds` for a search that has zoomed in."""
    if not searched.ranked or not any(began.notes.get("region") for began in searched.rounds):
        return None
    return draw_rounds(searched, width)


def draw_rounds(searched: Searched, width: Width) -> Any:
    """Draws a panel for each hyperparameter: trials from left to right, the region of each round behind them.

    Trials are coloured by rank; crosses are those that failed or diverged. A choice's region is as dark as its weight.
    """
    last = max((trial.number for trial in searched.trials), default=0) + 1
    figure, parts = panels(len(searched.scales), width, 1.65, Margins(left=0.75, bottom=0.45, top=0.3, between=0.6, under=0.5))
    for axes, (name, scale) in zip(parts, searched.scales.items(), strict=True):
        _draw_regions(axes, name, scale, searched.rounds, last)
        _draw_trials(axes, searched, name)
        draw_scale(axes, scale, "y", nearest=0.13, letters=12 * 4)
        axes.set_title(name)
        axes.set_xlim(-0.5, last - 0.5)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
    for axes in parts[-3 if width == "wide" else -1 :]:
        axes.set_xlabel("trial")
    return figure


def _draw_regions(axes: Any, name: str, scale: Scale, rounds: Sequence[RoundBegan], last: int) -> None:
    """Where each round looked on one scale, from its first trial to the next round's, the last one's up to `last`."""
    for began, end in zip(rounds, [*(each.first for each in rounds[1:]), last], strict=False):
        axes.axvline(began.first - 0.5, color=QUIET, linewidth=0.4, zorder=0)
        region = (began.notes.get("region") or {}).get(name)
        if region is None:
            continue
        across = [began.first - 0.5, end - 0.5]
        if isinstance(scale, Choice):
            count = len(scale.values)
            for index, weight in enumerate(region["weights"].values()):
                axes.fill_between(across, index / count, (index + 1) / count, color=ACCENT, alpha=0.5 * weight, lw=0)
        else:
            axes.fill_between(across, *region["unit"], color=ACCENT, alpha=0.25, lw=0)


def _draw_trials(axes: Any, searched: Searched, name: str) -> None:
    ranked, bad = thinned(searched.ranked), thinned(searched.bad)
    dense = len(ranked) > MOST_DRAWN
    size = 4 if dense else 12
    # The worst first, so that the best lie on top.
    numbers, units = ([trial.number for trial in ranked], searched.positions(name, ranked))
    colours = rank_colours(len(ranked))
    axes.scatter(numbers[::-1], units[::-1], c=colours[::-1], s=size, linewidths=0, zorder=3, rasterized=dense)
    places = [trial.number for trial in bad], searched.positions(name, bad)
    axes.plot(*places, "x", color=BAD, markersize=3, markeredgewidth=0.9, zorder=3, rasterized=dense)
