"""``lightning-hp show``: the leaderboard of a study, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lightning_hp.space import route
from lightning_hp.study import Study
from lightning_hp.trial import Trial


def main(root: str, as_json: bool) -> int:
    study = Study(Path(root).absolute())
    if as_json:
        print(json.dumps(study.to_dict(), indent=2, allow_nan=False))
    else:
        print_leaderboard(study, table_console())
    return 0


def table_console() -> Console:
    """Standard output; wide where it is no terminal, so that a file or pipe gets whole rows."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def print_leaderboard(study: Study, console: Console, most: int | None = None) -> None:
    """Prints the complete trials, best first, then how the others ended.

    Args:
        study: whose trials.
        console: where to.
        most: how many complete trials at most.
    """
    trials, ranked = study.trials, study.leaderboard()
    asked = study.asked
    rows = [(str(trial.number), _value(trial.value), *_values(trial, asked["space"])) for trial in ranked[:most]]
    title = f"{len(ranked)} of {len(trials)} trials complete; best {asked['monitor']} first ({asked['mode']})"
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, name in enumerate(["trial", asked["monitor"], *_short_names(asked["space"])]):
        # In a narrow terminal names may wrap; values stay whole.
        widest = max((len(row[index]) for row in rows), default=0)
        table.add_column(name, justify="right", overflow="fold", min_width=widest)
    for row in rows:
        table.add_row(*row)
    console.print(title, soft_wrap=True, highlight=False)
    console.print(table)
    if most is not None and len(ranked) > most:
        console.print(f"and {len(ranked) - most} more: lightning-hp show {study.root}", soft_wrap=True, highlight=False)
    for trial in trials:
        if trial.state != "complete":
            reason = f": {trial.reason}" if trial.reason else ""
            console.print(f"trial {trial.number} {trial.state}{reason}", markup=False, highlight=False, soft_wrap=True)


def _short_names(space: Iterable[str]) -> list[str]:
    """Names without their target, where that leaves no two alike."""
    names = list(space)
    short = [route(name)[1] for name in names]
    return short if len(set(short)) == len(short) else names


def _values(trial: Trial, space: dict[str, Any]) -> list[str]:
    return [_short(trial.hparams.get(name)) for name in space]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
