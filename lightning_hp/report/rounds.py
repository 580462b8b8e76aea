"""The rounds of a search as a picture: in each hyperparameter's own scale, where the trials lay and where it zoomed in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_hp.errors import ConfigError
from lightning_hp.scales import Choice, Scale, label
from lightning_hp.space import Space
from lightning_hp.trial import Mode, RoundBegan, Trial

COLUMNS = 3
# Labels on an axis.
TICKS = 5
_REGION, _QUIET, _INK = "#0f7b8a", "#9aa5b1", "#1f2933"


def draw_rounds(path: str | Path, space: Space, trials: Sequence[Trial], rounds: Sequence[RoundBegan], mode: Mode) -> None:
    """Draws a picture with a part for each hyperparameter: trials from left to right, each round's region behind them.

    A trial is drawn where the hyperparameter exists in it; a list has a part for each of its values.

    The better a trial, the darker; crosses are those that failed or diverged. A choice's region is as dark as its weight.

    Args:
        path: where to, by its ending .png, .svg or .pdf.
        space: of the search.
        trials: finished ones, with hyperparameters of the space.
        rounds: as the study has them.
        mode: whether small values are good, or large ones.

    Raises:
        ConfigError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ConfigError("pictures need matplotlib: pip install 'lightning-hp[plots]'") from None
    rows, columns = -(-space.dimensions // COLUMNS), min(space.dimensions, COLUMNS)
    figure = Figure(figsize=(4.2 * columns, 2.5 * rows + 0.3), layout="constrained")
    parts: Any = figure.subplots(rows, columns, squeeze=False, sharex=True)
    numbers = np.array([trial.number for trial in trials])
    units = space.to_unit([trial.hparams for trial in trials])
    there = space.active([trial.hparams for trial in trials])
    darkness = _darkness(trials, mode)
    last = max([*numbers.tolist(), 0]) + 1
    for column, (name, scale) in enumerate(space.coordinates.items()):
        axes = parts.flat[column]
        draw_round_regions(axes, name, scale, rounds, last)
        valued = np.array([trial.value is not None for trial in trials], dtype=bool)
        good, bad = valued & there[:, column], ~valued & there[:, column]
        axes.scatter(numbers[good], units[good, column], c=darkness[good], cmap="Greys", vmin=-0.4, vmax=1, s=16, zorder=3)
        axes.scatter(numbers[bad], units[bad, column], c="#c0392b", marker="x", s=14, linewidths=1, zorder=3)
        _label(axes, name, scale)
    for axes in parts.flat[space.dimensions :]:
        axes.set_visible(False)
    for axes in parts[-1]:
        axes.set_xlabel("trial", color=_INK, fontsize=9)
    try:
        figure.savefig(path, dpi=130)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def draw_round_regions(axes: Any, name: str, scale: Scale, rounds: Sequence[RoundBegan], last: int) -> None:
    """Draws where each round looked on one scale, from its first trial to the next round's, the last one's up to `last`."""
    for began, end in zip(rounds, [*(each.first for each in rounds[1:]), last], strict=False):
        axes.axvline(began.first - 0.5, color=_QUIET, linewidth=0.4, zorder=0)
        region = (began.notes.get("region") or {}).get(name)
        if region is None:
            continue
        across = [began.first - 0.5, end - 0.5]
        if isinstance(scale, Choice):
            count = len(scale.values)
            for index, weight in enumerate(region["weights"].values()):
                axes.fill_between(across, index / count, (index + 1) / count, color=_REGION, alpha=0.5 * weight, lw=0)
        else:
            axes.fill_between(across, *region["unit"], color=_REGION, alpha=0.25, lw=0)


def _label(axes: Any, name: str, scale: Scale) -> None:
    if isinstance(scale, Choice):
        places = (np.arange(len(scale.values)) + 0.5) / len(scale.values)
        texts = [str(label(value)) for value in scale.values]
    else:
        values = scale.grid(TICKS)
        places, texts = np.asarray(scale.to_unit(np.array(values))), [f"{value:.3g}" for value in values]
    axes.set_yticks(places, texts, fontsize=8)
    axes.set_ylim(-0.03, 1.03)
    axes.set_title(name, fontsize=10, color=_INK)
    axes.tick_params(colors=_INK, length=0, labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _darkness(trials: Sequence[Trial], mode: Mode) -> Any:
    """By rank, 1 for the best."""
    sign = 1.0 if mode == "max" else -1.0
    values = np.array([-np.inf if trial.value is None else sign * trial.value for trial in trials])
    return values.argsort(kind="stable").argsort() / max(len(values) - 1, 1)
