"""Trials as flat rows, which tables of all kinds are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_hp.trial import Best, Mode, Trial, is_better


def flat_rows(
    trials: Sequence[Trial], monitor: str, mode: Mode, times: Mapping[int, tuple[float, float | None]]
) -> list[dict[str, Any]]:
    """One row a trial, all with the same columns in the same order; None where a trial has no value.

    ``number``, ``state``, ``value``; ``hparams.NAME``; of each metric ``best.NAME``, its value where the monitored one was
    best, and ``last.NAME``, that of the last epoch; ``epochs``, ``seed``, ``seconds``, ``reason``, ``checkpoint``.

    Where it was best is one of several validations in an epoch, if there were such; of a metric that is not logged there,
    ``best.NAME`` is the value at the end of that epoch. A study of an older version knows only the ends of epochs.

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
    metrics = list(dict.fromkeys(name for trial in trials for name in (*trial.metrics, *_at_best(trial))))
    return [_row(trial, hparams, metrics, trial.best or _best_epoch(trial, monitor, mode), times) for trial in trials]


def _row(
    trial: Trial,
    hparams: Sequence[str],
    metrics: Sequence[str],
    best: Best | None,
    times: Mapping[int, tuple[float, float | None]],
) -> dict[str, Any]:
    row: dict[str, Any] = {"number": trial.number, "state": trial.state, "value": trial.value}
    row |= {f"hparams.{name}": trial.hparams.get(name) for name in hparams}
    for name in metrics:
        values = trial.metrics.get(name, [])
        row[f"best.{name}"] = _at(best, name, values) if best is not None else None
        row[f"last.{name}"] = values[-1] if values else None
    began, ended = times.get(trial.number, (0.0, None))
    row |= {"epochs": trial.epochs, "seed": trial.seed, "seconds": None if ended is None else ended - began}
    return row | {"reason": trial.reason, "checkpoint": str(trial.checkpoint) if trial.checkpoint else None}


def _at_best(trial: Trial) -> Mapping[str, float]:
    return trial.best.metrics if trial.best is not None else {}


def _at(best: Best, name: str, values: Sequence[float | None]) -> float | None:
    """A metric where the objective was best, of its values at the ends of epochs if it was not logged there."""
    at_the_end = values[best.epoch] if best.epoch < len(values) else None
    return best.metrics.get(name, at_the_end)


def _best_epoch(trial: Trial, monitor: str, mode: Mode) -> Best | None:
    """The best end of an epoch."""
    best, found = None, None
    for epoch, value in enumerate(trial.metrics.get(monitor, [])):
        if value is not None and is_better(value, best, mode):
            best, found = value, epoch
    return Best(found, {}) if found is not None else None
