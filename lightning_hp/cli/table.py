"""A table that is right at any width: where it does not fit, each row becomes a block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lightning_hp.space import route

# A table is measured on paper that it surely fits: on the terminal itself it would claim to fit always.
_ANY_WIDTH = 100_000
# Narrower, a name folded into its column is no longer read.
NAME_WIDTH = 8


def print_rows(console: Console, heads: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows of text.

    Args:
        console: where to.
        heads: names of the first columns, which stand in the first line of a block.
        names: of the other columns.
        rows: a text for each column.
    """
    table = _table([*heads, *names], rows)
    if console.measure(table, options=console.options.update(width=_ANY_WIDTH)).minimum <= console.width:
        console.print(table)
        return
    # Cropped columns would show numbers that are wrong.
    for row in rows:
        first = "  ".join(f"{name} {each}" for name, each in zip(heads, row, strict=False))
        console.print(Text(first, overflow="fold"))
        pairs = " ".join(f"{name}={each}" for name, each in zip(names, row[len(heads) :], strict=True) if each)
        console.print(Padding(Text(pairs, overflow="fold"), (0, 0, 0, 2), expand=False))


def print_line(console: Console, line: str) -> None:
    """Prints a line as it is: a terminal may wrap it, and nothing in it is markup."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_rest(console: Console, shown: int, there: int, see: str) -> None:
    """Says how many rows are not shown, if any are not, and where they are to be seen."""
    if there > shown:
        print_line(console, f"and {there - shown} more: {see}")


def short_names(names: Iterable[str]) -> list[str]:
    """Hyperparameters' names without their target, where that leaves no two alike."""
    long = list(names)
    short = [route(name)[1] for name in long]
    return short if len(set(short)) == len(short) else long


def short_value(value: Any) -> str:
    """A value in few digits.

    >>> short_value(0.000123456), short_value("relu"), short_value([128, 64])
    ('0.000123', 'relu', '[128, 64]')
    """
    if isinstance(value, list):
        return f"[{', '.join(map(short_value, value))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, name in enumerate(names):
        widest = max(cell_len(row[index]) for row in rows)
        # In a narrow terminal names may wrap; values stay whole.
        narrowest = max(widest, min(cell_len(name), NAME_WIDTH))
        table.add_column(Text(name), justify="right", overflow="fold", min_width=narrowest)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
