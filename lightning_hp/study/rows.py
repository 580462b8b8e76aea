"""Trials as flat rows, which tables of all kinds are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_hp.trial import Mode, Trial, is_better


def flat_rows(
    trials: Sequence[Trial], monitor: str, mode: Mode, times: Mapping[int, tuple[float, float | None]]
) -> list[dict[str, Any]]:
    """One row a trial, all with the same columns in the same order; None where a trial has no value.

    ``number``, ``state``, ``value``; ``hparams.NAME``; of each metric ``best.NAME``, its value in the epoch in which the
    monitored one was best, and ``last.NAME``, that of the last epoch; ``epochs``, ``seed``, ``seconds``, ``reason``,
    ``checkpoint``.

    Args:
        trials: in the order of the rows.
        monitor: the objective.
        mode: its direction.
        times: when trials began and ended.

    >>> trial = Trial(0, {"lr": 0.1}, 7, "complete", 0.5, 2, {"loss": [0.5, 0.6], "acc": [0.1, 0.2]})
    >>> flat_rows([trial], "loss", "min", {0: (1.0, 4.0)})[0]["best.acc"]
    0.1
    """
    hparams = list(dict.fromkeys(name for trial in trials for name in trial.hparams))
    metrics = list(dict.fromkeys(name for trial in trials for name in trial.metrics))
    return [_row(trial, hparams, metrics, _best_epoch(trial, monitor, mode), times) for trial in trials]


def _row(
    trial: Trial,
    hparams: Sequence[str],
    metrics: Sequence[str],
    best: int | None,
    times: Mapping[int, tuple[float, float | None]],
) -> dict[str, Any]:
    row: dict[str, Any] = {"number": trial.number, "state": trial.state, "value": trial.value}
    row |= {f"hparams.{name}": trial.hparams.get(name) for name in hparams}
    for name in metrics:
        values = trial.metrics.get(name, [])
        row[f"best.{name}"] = values[best] if best is not None and best < len(values) else None
        row[f"last.{name}"] = values[-1] if values else None
    began, ended = times.get(trial.number, (0.0, None))
    row |= {"epochs": trial.epochs, "seed": trial.seed, "seconds": None if ended is None else ended - began}
    return row | {"reason": trial.reason, "checkpoint": str(trial.checkpoint) if trial.checkpoint else None}


def _best_epoch(trial: Trial, monitor: str, mode: Mode) -> int | None:
    best, found = None, None
    for epoch, value in enumerate(trial.metrics.get(monitor, [])):
        if value is not None and is_better(value, best, mode):
            best, found = value, epoch
    return found
