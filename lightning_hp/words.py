"""Figures as a reader wants them."""

from __future__ import annotations

from typing import Any

from lightning_hp.description import label


def duration(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> duration(0.25), duration(42.0), duration(192.0), duration(7260.0), duration(200000.0)
    ('0.25 s', '42 s', '3 min 12 s', '2 h 1 min', '2 d 7 h')
    """
    if seconds < 10:
        return f"{round(seconds, 2):.2g} s"
    seconds = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"


def number(value: Any) -> str:
    """A hyperparameter or a value in as many digits as tell trials apart.

    >>> number(0.123456789), number(0.30000000000000004), number(1e-05), number("relu"), number(None)
    ('0.1235', '0.3', '1e-05', 'relu', 'None')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(label(value))
