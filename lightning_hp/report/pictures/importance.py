"""How much each hyperparameter matters, with its uncertainty."""

from __future__ import annotations

from typing import Any

from lightning_hp.report.searched import Searched
from lightning_hp.report.style import ACCENT, INK, PAPER, QUIET, Margins, Width, cut, rules, single

_TOLD = {True: "matters", False: "makes little difference", None: "cannot tell"}
_COLOURS = {True: ACCENT, False: QUIET, None: PAPER}


def draw_importance(searched: Searched, width: Width) -> Any:
    """Draws each hyperparameter's share in the differences between trials, most first, with its 90% interval.

    Full points matter or make little difference as far as the trials say so; hollow ones they do not tell. One that had a
    single value has no share, and is left out.
    """
    varied = {name: each for name, each in searched.findings.importance.items() if each.varied}
    ranked = sorted(varied.items(), key=lambda each: each[1].share)
    if all(each.share == 0 and each.high == 1 for _, each in ranked):
        # Too few trials to tell anything.
        return None
    letters = min(max(len(name) for name, _ in ranked), 28 if width == "wide" else 16)
    margins = Margins(left=0.3 + 0.075 * letters, right=1.6 if width == "wide" else 0.25, bottom=0.5, top=0.15)
    figure, axes = single(width, 0.3 * len(ranked) + 0.1, margins)
    rules(axes, "x")
    for row, (_, each) in enumerate(ranked):
        colour = ACCENT if each.matters else QUIET
        low, share, high = (100 * max(value, 0.0) for value in (each.low, each.share, each.high))
        axes.plot([low, high], [row, row], color=colour, linewidth=5, alpha=0.3, solid_capstyle="butt")
        axes.plot(
            [share], [row], "o", markersize=7, markerfacecolor=_COLOURS[each.matters], markeredgecolor=colour, clip_on=False
        )
        if width == "wide":
            at = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            told = f"{share:.0f}%, {_TOLD[each.matters]}"
            axes.annotate(told, (1, row), xytext=(10, 0), va="center", fontsize=8, color=INK, **at)
    axes.set_yticks(range(len(ranked)), [cut(name, letters) for name, _ in ranked])
    axes.set_ylim(-0.6, len(ranked) - 0.4)
    axes.set_xlim(0, min(100.0, 10.0 + 100 * max(each.high for _, each in ranked)))
    axes.set_xlabel("share in the differences between trials, %")
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines["left"].set_visible(False)
    return figure
