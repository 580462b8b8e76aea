"""What was done to babysat trials, and when."""

from __future__ import annotations

from typing import Any

from lightning_hp.report.interventions import Kind
from lightning_hp.report.searched import Searched
from lightning_hp.report.style import ACCENT, BAD, GOOD, INK, QUIET, RANKS, Margins, Width, rules, single

# Trials, the best first.
MOST_ROWS = 30
_MARKS: dict[Kind, tuple[str, str]] = {
    "moved": ("o", GOOD),
    "went back": ("<", BAD),
    "skipped": ("D", RANKS[3]),
    "stopped": ("s", INK),
    "asked": ("P", ACCENT),
}


def draw_babysitter(searched: Searched, width: Width) -> Any:
    """Draws a row for each trial that was babysat to some effect, the best at the top, over its epochs, with a mark for each
    thing that was done."""
    by_trial: dict[int, list[Any]] = {}
    for each in searched.interventions:
        by_trial.setdefault(each.number, []).append(each)
    if not by_trial:
        return None
    best_first = {trial.number: trial for trial in [*searched.ranked, *searched.trials]}
    order = [trial for number, trial in best_first.items() if number in by_trial][:MOST_ROWS]
    figure, axes = single(width, 0.21 * len(order) + 0.1, Margins(left=0.85, bottom=0.45, top=0.4, right=0.75))
    rules(axes, "x")
    for row, trial in enumerate(order):
        end = max(trial.epochs, *(each.epoch for each in by_trial[trial.number]), 1)
        axes.plot([0, end], [row, row], color=QUIET, linewidth=4, alpha=0.3, solid_capstyle="butt")
        told = f"{trial.value:.4g}" if trial.value is not None else trial.state
        where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center", "fontsize": 8}
        axes.annotate(told, (1, row), xytext=(6, 0), **where)
    kinds: list[Kind] = list(_MARKS)
    for kind in kinds:
        marker, colour = _MARKS[kind]
        points = [(each.epoch, row) for row, trial in enumerate(order) for each in by_trial[trial.number] if each.kind == kind]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, markersize=5, alpha=0.9, label=kind, linestyle="none")
    axes.set_yticks(range(len(order)), [f"trial {trial.number}" for trial in order])
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(left=-0.3)
    axes.set_xlabel("epoch")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, handletextpad=0.1, columnspacing=1.0, borderaxespad=0.2)
    return figure
