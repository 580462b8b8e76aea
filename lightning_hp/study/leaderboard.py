"""The leaderboard in words and, for notebooks, in HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lightning_hp.description import label
from lightning_hp.trial import Trial


def headline(counts: Mapping[str, int], total: int | None) -> str:
    """How many trials there are of each kind.

    Args:
        counts: of trials in each state.
        total: how many were asked for; None if that is open.

    >>> headline({"complete": 3, "failed": 1, "running": 2}, 10)
    '3 of 10 trials complete, 1 failed, 2 running, 4 waiting'
    """
    states = Counter(counts)
    there = sum(states.values())
    total = max(total or 0, there)
    states["waiting"] += total - there
    others = [f", {states[state]} {state}" for state in ("failed", "diverged", "pruned", "running", "waiting") if states[state]]
    return f"{states['complete']} of {total} trials complete{''.join(others)}"


def leaderboard_html(told: str, monitor: str, names: Sequence[str], trials: Sequence[Trial]) -> str:
    """A table of trials under a line of text, all of it escaped.

    Args:
        told: the line.
        monitor: the objective.
        names: of the hyperparameters.
        trials: in the order of the rows.
    """
    heads = _row("th", ["trial", monitor, "epochs", *names])
    rows = "".join(_row("td", _cells(trial, names)) for trial in trials)
    table = f"<table><thead>{heads}</thead><tbody>{rows}</tbody></table>" if trials else ""
    return f"<div><p>{escape(told)}</p>{table}</div>"


def _cells(trial: Trial, names: Sequence[str]) -> list[str]:
    value = "" if trial.value is None else f"{trial.value:.4g}"
    return [str(trial.number), value, str(trial.epochs), *(_shown(trial.hparams.get(name, "")) for name in names)]


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(label(value))


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
