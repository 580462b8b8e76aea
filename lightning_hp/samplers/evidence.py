"""What a model of the objective can learn from finished trials: points, and values made comparable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_hp.space import Space
from lightning_hp.space.scales import Choice
from lightning_hp.trial import Mode, Trial

Array = NDArray[np.float64]

# Differences that are smaller than this part are rounding.
ROUNDING = 1e-12
LARGEST = 1e150
# A value worse than the median by this many times the distance from the median to the best says no more than that it is bad.
WORST = 2.0


@dataclass(frozen=True)
class Evidence:
    """Finished trials as numbers.

    Attributes:
        units: their positions in the unit cube, of shape (n, dimensions).
        values: 0 for the best, 1 for one in the middle.
        reached: how far each trained: 1 for those that were not stopped, less for pruned ones, by the logarithm of their
            epochs.
    """

    units: Array
    values: Array
    reached: Array

    @property
    def standardized(self) -> Array:
        """The values with mean 0 and standard deviation 1, where they differ."""
        standardized: Array = (self.values - self.values.mean()) / (self.values.std() or 1.0)
        return standardized

    @property
    def tells(self) -> bool:
        """Whether some trials are better than others."""
        return bool(np.ptp(self.values) > 0) if len(self.values) else False


def evidence(space: Space, history: Sequence[Trial], mode: Mode, most: int | None = None, midway: bool = False) -> Evidence:
    """What finished trials say.

    A diverged trial counts as a bad one; a failed one says nothing. Values are cut off above (see `WORST`): the objective's
    form among bad trials is of no use, and a few that are far off would hide the differences among the good.

    Args:
        space: of the search.
        history: finished trials.
        mode: of the objective.
        most: where there are more trials, the better half of so many, and as many of the others, spread over the search.
        midway: with what those trials had come to at the rungs of a pruner that they passed, which tells what those may come
            to that were stopped there.
    """
    told = [trial for trial in history if trial.state != "failed"]
    raw = np.array([_cost(trial, mode) for trial in told])
    finite = raw[np.isfinite(raw)]
    if not len(finite):
        return Evidence(np.empty((0, space.dimensions)), np.empty(0), np.empty(0))
    median, best = float(np.median(finite)), float(finite.min())
    spread = median - best or float(np.ptp(finite))
    if spread <= ROUNDING * abs(best):
        # Then only those that diverged are worse.
        spread = max(abs(best), 1.0)
    kept = _kept(raw, most)
    told, raw = [told[index] for index in kept], raw[kept]
    rows = [*zip(range(len(told)), raw, _reached(told), strict=True), *(_passed(told, mode) if midway else ())]
    index, costs, reached = (np.array(column) for column in zip(*rows, strict=True))
    units = space.to_unit([trial.hparams for trial in told])
    values = np.minimum(np.where(np.isfinite(costs), costs, np.inf), median + WORST * spread)
    # One that has diverged may have been better than all others at a rung.
    return Evidence(units[index], np.maximum(values - best, 0.0) / spread, reached)


def features(space: Space, units: Array) -> Array:
    """Positions as a model of the objective sees them: a number for each ordered scale, one per value for each choice."""
    columns = []
    for column, scale in enumerate(space.coordinates.values()):
        if isinstance(scale, Choice):
            index = np.minimum((units[:, column] * len(scale.values)).astype(int), len(scale.values) - 1)
            # Any two values are as far from each other as the ends of another scale.
            columns.append(np.eye(len(scale.values))[index] * math.sqrt(0.5))
        else:
            columns.append(units[:, [column]])
    return np.concatenate(columns, axis=1)


def _cost(trial: Trial, mode: Mode) -> float:
    if trial.state == "diverged" or trial.value is None or not math.isfinite(trial.value):
        return math.nan
    # Beyond these, differences may overflow.
    value = min(max(trial.value, -LARGEST), LARGEST)
    return value if mode == "min" else -value


def _reached(trials: Sequence[Trial]) -> Array:
    share = _share(trials)
    return np.array([share(trial.epochs) if trial.state == "pruned" else 1.0 for trial in trials])


def _share(trials: Sequence[Trial]) -> Callable[[int], float]:
    """How far into a whole training so many epochs are."""
    whole = math.log1p(max(trial.epochs for trial in trials))
    return lambda epochs: math.log1p(epochs) / whole if whole > 0 else 1.0


def _passed(trials: Sequence[Trial], mode: Mode) -> list[tuple[int, float, float]]:
    """Per rung that a trial has passed its index, what it cost there, and how far it had come."""
    share, sign = _share(trials), 1.0 if mode == "min" else -1.0
    # A rung may be counted in steps: how many epochs it takes is known from those that were stopped there.
    epochs = {trial.rungs[-1][0]: trial.epochs for trial in trials if trial.state == "pruned" and trial.rungs}
    return [
        (index, sign * min(max(value, -LARGEST), LARGEST), share(epochs[rung]))
        for index, trial in enumerate(trials)
        for rung, value in (trial.rungs[:-1] if trial.state == "pruned" else trial.rungs)
        if rung in epochs and math.isfinite(value)
    ]


def _kept(raw: Array, most: int | None) -> list[int]:
    if most is None or len(raw) <= most:
        return list(range(len(raw)))
    # Those that have none, at the end.
    order = np.argsort(raw, kind="stable")
    rest = np.sort(order[most // 2 :])
    spread = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(int)]
    return sorted({*order[: most // 2].tolist(), *spread.tolist()})
