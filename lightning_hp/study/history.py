"""A history of metrics: per metric one value an epoch."""

from __future__ import annotations

from collections.abc import Mapping


def add_epoch(history: dict[str, list[float | None]], epoch: int, metrics: Mapping[str, float]) -> None:
    """Appends an epoch, with None where a metric was not logged.

    >>> history = {"val_loss": [0.5]}
    >>> add_epoch(history, 1, {"val_acc": 0.9})
    >>> history
    {'val_loss': [0.5, None], 'val_acc': [None, 0.9]}
    """
    for name in [*history, *(name for name in metrics if name not in history)]:
        values = history.setdefault(name, [])
        values += [None] * (epoch - len(values))
        values.append(metrics.get(name))
