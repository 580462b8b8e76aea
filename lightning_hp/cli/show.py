"""``lightning-hp show``: the leaderboard of a study and what its trials say, as a table or as JSON."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lightning_hp.cli.findings import print_findings
from lightning_hp.space import route
from lightning_hp.study import Study
from lightning_hp.trial import Trial

MOST_SHOWN = 20
_MOST_NUMBERS = 8
# A table is measured on paper that it surely fits: on the terminal itself it would claim to fit always.
_ANY_WIDTH = 100_000
# Narrower, a name folded into its column is no longer read.
_NAME_WIDTH = 8


def main(root: str, as_json: bool, everything: bool) -> int:
    study = Study(Path(root).absolute())
    if as_json:
        print(json.dumps(study.to_dict(findings=True), indent=2, allow_nan=False))
    else:
        console = table_console()
        print_leaderboard(study, console, None if everything else MOST_SHOWN, "--all")
        print_findings(study.findings(), console, study.root)
    return 0


def table_console() -> Console:
    """Standard output; wide where it is no terminal, so that a file or pipe gets whole rows."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def print_leaderboard(study: Study, console: Console, most: int | None = None, see: str | None = None) -> None:
    """Prints the complete trials, best first, then how the others ended.

    Args:
        study: whose trials.
        console: where to.
        most: how many lines of each at most.
        see: where the rest is to be seen; the ``show`` command by default.
    """
    asked, counts, ranked = study.asked, study.counts, study.leaderboard(most)
    complete = counts.get("complete", 0)
    see = see or f"lightning-hp show {shlex.quote(str(study.root))}"
    _print_line(console, f"{_headline(counts, asked)}; best {asked['monitor']} first ({asked['mode']})")
    if ranked:
        _print_rows(console, ranked, asked)
        _print_rest(console, len(ranked), complete, see)
    endings = study.endings
    for words, numbers in list(endings.items())[:most]:
        _print_line(console, _ending(words, numbers, console.width))
    _print_rest(console, min(len(endings), most or len(endings)), len(endings), see)


def _headline(counts: dict[str, int], asked: dict[str, Any]) -> str:
    states = Counter(counts)
    there = sum(states.values())
    total = max(asked["total"] or 0, there)
    states["waiting"] += total - there
    others = [f", {states[state]} {state}" for state in ("failed", "diverged", "pruned", "running", "waiting") if states[state]]
    return f"{states['complete']} of {total} trials complete{''.join(others)}"


def _print_rows(console: Console, trials: Sequence[Trial], asked: dict[str, Any]) -> None:
    names = _short_names(asked["space"])
    values = [[_short(trial.hparams[name]) if name in trial.hparams else "" for name in asked["space"]] for trial in trials]
    rows = [[*_heads(trial), *row] for trial, row in zip(trials, values, strict=True)]
    table = _table(["trial", asked["monitor"], *names], rows)
    if console.measure(table, options=console.options.update(width=_ANY_WIDTH)).minimum <= console.width:
        console.print(table)
        return
    # Cropped columns would show numbers that are wrong.
    for trial, row in zip(trials, values, strict=True):
        number, value = _heads(trial)
        console.print(Text(f"trial {number}  {asked['monitor']} {value}", overflow="fold"))
        pairs = " ".join(f"{name}={each}" for name, each in zip(names, row, strict=True) if each)
        console.print(Padding(Text(pairs, overflow="fold"), (0, 0, 0, 2), expand=False))


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, name in enumerate(names):
        widest = max(cell_len(row[index]) for row in rows)
        # In a narrow terminal names may wrap; values stay whole.
        narrowest = max(widest, min(cell_len(name), _NAME_WIDTH))
        table.add_column(Text(name), justify="right", overflow="fold", min_width=narrowest)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _ending(words: str, numbers: list[int], width: int) -> str:
    if len(numbers) == 1:
        return _cut(f"trial {numbers[0]} {words}", width)
    shown = ", ".join(map(str, numbers[:_MOST_NUMBERS])) + (", ..." if len(numbers) > _MOST_NUMBERS else "")
    which = f" ({shown})"
    return _cut(f"{len(numbers)} trials {words}", max(width - len(which), _NAME_WIDTH)) + which


def _cut(text: str, width: int) -> str:
    line = Text(" ".join(text.split()))
    line.truncate(width, overflow="ellipsis")
    return line.plain


def _print_rest(console: Console, shown: int, there: int, see: str) -> None:
    if there > shown:
        _print_line(console, f"and {there - shown} more: {see}")


def _print_line(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _short_names(space: Iterable[str]) -> list[str]:
    """Names without their target, where that leaves no two alike."""
    names = list(space)
    short = [route(name)[1] for name in names]
    return short if len(set(short)) == len(short) else names


def _heads(trial: Trial) -> tuple[str, str]:
    return str(trial.number), "" if trial.value is None else f"{trial.value:.4g}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
