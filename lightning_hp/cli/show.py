"""``lightning-hp show``: the leaderboard of a study and what its trials say, as a table or as JSON."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from lightning_hp.cli.choose import Chosen, all_of, choose, print_chosen, write_csv
from lightning_hp.cli.findings import print_findings
from lightning_hp.cli.table import NAME_WIDTH, print_line, print_rest, print_rows, short_names, short_value
from lightning_hp.errors import ConfigError
from lightning_hp.study import Study
from lightning_hp.study.leaderboard import headline
from lightning_hp.trial import Trial

MOST_SHOWN = 20
_MOST_NUMBERS = 8


def main(
    root: str,
    as_json: bool = False,
    as_csv: bool = False,
    everything: bool = False,
    sort: str | None = None,
    reverse: bool = False,
    conditions: Sequence[str] = (),
) -> int:
    if as_json and as_csv:
        raise ConfigError("show takes --json or --csv, not both")
    study = Study(Path(root).absolute())
    chosen = choose(study, sort, reverse, conditions) if sort is not None or reverse or conditions else None
    if as_json:
        print(json.dumps(_as_dict(study, chosen), indent=2, allow_nan=False))
    elif as_csv:
        write_csv(chosen or all_of(study), sys.stdout)
    elif chosen is not None:
        print_chosen(study, chosen, table_console(), None if everything else MOST_SHOWN)
    else:
        console = table_console()
        print_leaderboard(study, console, None if everything else MOST_SHOWN, "--all")
        print_findings(study.findings(), console, study.root)
    return 0


def _as_dict(study: Study, chosen: Chosen | None) -> dict[str, Any]:
    plain = study.to_dict(findings=True)
    if chosen is not None:
        trials = {trial["number"]: trial for trial in plain["trials"]}
        plain["trials"] = [trials[row["number"]] for row in chosen.rows if row["number"] in trials]
    return plain


def table_console() -> Console:
    """Standard output; wide where it is no terminal, so that a file or pipe gets whole rows.

    COLUMNS decides, as for Rich and ``ps``, where it is exported: shells do not, ``watch`` and whoever wants a width do.
    """
    console = Console()
    asked = os.environ.get("COLUMNS", "").isdigit()
    return console if console.is_terminal or asked else Console(width=200)


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
    print_line(console, f"{headline(counts, asked['total'])}; best {asked['monitor']} first ({asked['mode']})")
    if ranked:
        _print_ranked(console, ranked, asked)
        print_rest(console, len(ranked), complete, see)
    endings = study.endings
    for words, numbers in list(endings.items())[:most]:
        print_line(console, _ending(words, numbers, console.width))
    print_rest(console, min(len(endings), most or len(endings)), len(endings), see)


def _print_ranked(console: Console, trials: Sequence[Trial], asked: dict[str, Any]) -> None:
    rows = [[str(trial.number), "" if trial.value is None else f"{trial.value:.4g}"] for trial in trials]
    for trial, row in zip(trials, rows, strict=True):
        row += [short_value(trial.hparams[name]) if name in trial.hparams else "" for name in asked["space"]]
    print_rows(console, ["trial", asked["monitor"]], short_names(asked["space"]), rows)


def _ending(words: str, numbers: list[int], width: int) -> str:
    if len(numbers) == 1:
        return _cut(f"trial {numbers[0]} {words}", width)
    shown = ", ".join(map(str, numbers[:_MOST_NUMBERS])) + (", ..." if len(numbers) > _MOST_NUMBERS else "")
    which = f" ({shown})"
    return _cut(f"{len(numbers)} trials {words}", max(width - len(which), NAME_WIDTH)) + which


def _cut(text: str, width: int) -> str:
    line = Text(" ".join(text.split()))
    line.truncate(width, overflow="ellipsis")
    return line.plain
