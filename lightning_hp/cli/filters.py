"""Which trials a person asks for, and in which order: ``--filter "lr<0.01"`` and ``--sort NAME``, over flat rows of trials."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_hp.bounds import is_number
from lightning_hp.errors import ConfigError, did_you_mean, one_of
from lightning_hp.space import route
from lightning_hp.trial import STATES, Mode

Row = Mapping[str, Any]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_EQUAL = ("=", "==", "!=")
_CONDITION = re.compile(rf"\s*(.+?)\s*({'|'.join(_OPERATORS)})\s*(.*?)\s*")


@dataclass(frozen=True)
class Condition:
    """What a row has to fulfil in one column. A row without a value there equals ``none``, and is neither less nor more."""

    column: str
    operator: str
    wanted: str

    def holds(self, row: Row) -> bool:
        """Whether a row fulfils it."""
        value, wanted, compare = row.get(self.column), number(self.wanted), _OPERATORS[self.operator]
        if is_number(value) and wanted is not None:
            return compare(value, wanted)
        return self.operator in _EQUAL and compare(str(value).lower(), self.wanted.lower())


def parse_condition(text: str, columns: Sequence[str]) -> Condition:
    """What ``lr<0.01`` asks of a row.

    Args:
        text: a name, one of ``= != < <= > >=``, and a value.
        columns: of the rows.

    Raises:
        ConfigError: it has another form, there is no such column or state, or what is to be less or more is no number.

    >>> parse_condition("lr < 1e-2", ["number", "hparams.model.lr"])
    Condition(column='hparams.model.lr', operator='<', wanted='1e-2')
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ConfigError(f"--filter needs a name, one of = != < <= > >=, and a value, such as 'lr<0.01', got {text!r}")
    name, sign, wanted = found.groups()
    if sign not in _EQUAL and number(wanted) is None:
        raise ConfigError(f"--filter {text!r} needs a number after {sign}, got {wanted!r}")
    column = column_of(name, columns, "--filter")
    return Condition(column, sign, one_of(f"--filter {text!r}: state", wanted.lower(), STATES) if column == "state" else wanted)


def column_of(name: str, columns: Sequence[str], flag: str) -> str:
    """The column that a person means.

    A hyperparameter needs neither ``hparams.`` nor, where no other ends alike, its target; a metric without ``last.`` is that
    of the best epoch.

    Args:
        name: as it was typed.
        columns: of the rows.
        flag: for the message.

    Raises:
        ConfigError: there is none, with the nearest; or several.

    >>> column_of("lr", ["value", "hparams.model.lr", "best.lr"], "--sort")
    'hparams.model.lr'
    """
    for column in (name, f"hparams.{name}"):
        if column in columns:
            return column
    short = [(column, route(column.removeprefix("hparams."))[1]) for column in columns if column.startswith("hparams.")]
    found = [column for column, each in short if each == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{flag} {name}: say which of {', '.join(each.removeprefix('hparams.') for each in found)}")
    if f"best.{name}" in columns:
        return f"best.{name}"
    known = [*columns, *(each for _, each in short), *(each.removeprefix("best.") for each in columns if each[:5] == "best.")]
    listed = [each for each in dict.fromkeys(known) if not each.startswith(("hparams.", "best."))]
    raise ConfigError(f"{flag} {name}: there is no {name!r}{did_you_mean(name, known)}; there are {', '.join(listed)}")


def sort_rows(rows: Sequence[Row], column: str, reverse: bool, best_first: Mode | None = None) -> list[Row]:
    """Rows by a column, smallest first, those without a value last.

    Args:
        rows: to be sorted; equals stay as they stand.
        column: numbers, or anything else by its text.
        reverse: largest first.
        best_first: of the objective, the better first and not the smaller.
    """

    def missing(row: Row) -> bool:
        value = row.get(column)
        return value is None or (isinstance(value, float) and math.isnan(value))

    there = [row for row in rows if not missing(row)]
    numbers = all(is_number(row[column]) for row in there)
    descending = reverse != (best_first == "max")
    ordered = sorted(there, key=lambda row: row[column] if numbers else str(row[column]), reverse=descending)
    return [*ordered, *(row for row in rows if missing(row))]


def number(text: str) -> float | None:
    """A text as a number; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None
