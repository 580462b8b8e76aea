"""The trials that a person has asked ``show`` for, as a table or as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from rich.console import Console

from lightning_hp.cli.filters import Row, column_of, parse_condition, sort_rows
from lightning_hp.cli.table import print_line, print_rest, print_rows, short_names, short_value
from lightning_hp.description import label
from lightning_hp.study import Study

_HPARAMS = "hparams."
# What the table has anyway, and what it has without a single trial.
_HEADS = ("number", "state", "value")
_TAILS = ("epochs", "seed", "seconds", "reason", "checkpoint")


@dataclass(frozen=True)
class Chosen:
    """Rows of a study's table.

    Attributes:
        rows: in order.
        columns: all that the table has.
        by: those by which the rows were chosen.
    """

    rows: Sequence[Row]
    columns: Sequence[str]
    by: Sequence[str] = ()


def all_of(study: Study) -> Chosen:
    """All trials by number."""
    rows = study.to_rows()
    none = [*_HEADS, *(f"{_HPARAMS}{name}" for name in study.asked["space"]), *_TAILS]
    return Chosen(rows, list(rows[0]) if rows else none)


def choose(study: Study, sort: str | None, reverse: bool, conditions: Sequence[str]) -> Chosen:
    """The trials that fulfil all conditions, in the order that was asked for; by default by their value, the best first.

    Raises:
        ConfigError: a name or a condition is wrong.
    """
    asked, everything = study.asked, all_of(study)
    rows, columns = everything.rows, everything.columns
    tests = [parse_condition(text, columns) for text in conditions]
    by = column_of(sort, columns, "--sort") if sort is not None else "value"
    if by == f"best.{asked['monitor']}":
        by = "value"
    found = [row for row in rows if all(test.holds(row) for test in tests)]
    ordered = sort_rows(found, by, reverse, asked["mode"] if by == "value" else None)
    return Chosen(ordered, columns, list(dict.fromkeys([*(test.column for test in tests), by])))


def print_chosen(study: Study, chosen: Chosen, console: Console, most: int | None) -> None:
    """Prints at most so many rows, and how many there are."""
    asked, rows = study.asked, chosen.rows[:most]
    there = sum(study.counts.values())
    print_line(console, f"{len(chosen.rows)} of {there} trials")
    if not rows:
        return
    hparams = [f"{_HPARAMS}{name}" for name in asked["space"]]
    others = [column for column in chosen.by if column not in (*_HEADS, *hparams)]
    shown = [*_HEADS, *others, *hparams]
    names = [*others, *short_names(asked["space"])]
    print_rows(console, ["trial", "state", asked["monitor"]], names, [[_text(row, each) for each in shown] for row in rows])
    print_rest(console, len(rows), len(chosen.rows), "--all")


def write_csv(chosen: Chosen, file: TextIO) -> None:
    """Writes rows as CSV by RFC 4180, with a header."""
    writer = csv.DictWriter(file, chosen.columns)
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in chosen.rows)


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if column == "value":
        return f"{value:.4g}"
    return " ".join(short_value(_plain(value)).split())


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, float, str)) else label(value)
