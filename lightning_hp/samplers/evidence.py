"""What a model of the objective can learn from finished trials: points, and values made comparable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_hp.scales import Choice
from lightning_hp.space import Space
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
        units: their positions in the unit cube, of shape (n, len(space)).
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


def evidence(space: Space, history: Sequence[Trial], mode: Mode, most: int | None = None) -> Evidence:
    """What finished trials say.

    A diverged trial counts as a bad one; a failed one says nothing. Values are cut off above (see `WORST`): the objective's
    form among bad trials is of no use, and a few that are far off would hide the differences among the good.

    Args:
        space: of the search.
        history: finished trials.
        mode: of the objective.
        most: where there are more trials, the better half of so many, and as many of the others, spread over the search.
    """
    told = [trial for trial in history if trial.state != "failed"]
    raw = np.array([_cost(trial, mode) for trial in told])
    finite = raw[np.isfinite(raw)]
    if not len(finite):
        return Evidence(np.empty((0, len(space))), np.empty(0), np.empty(0))
    median, best = float(np.median(finite)), float(finite.min())
    spread = median - best or float(np.ptp(finite))
    if spread <= ROUNDING * abs(best):
        # Then only those that diverged are worse.
        spread = max(abs(best), 1.0)
    values = np.minimum(np.where(np.isfinite(raw), raw, np.inf), median + WORST * spread)
    values = (values - best) / spread
    kept = _kept(values, most)
    return Evidence(space.to_unit([told[index].hparams for index in kept]), values[kept], _reached(told)[kept])


def features(space: Space, units: Array) -> Array:
    """Positions as a model of the objective sees them: a number for each ordered scale, one per value for each choice."""
    columns = []
    for column, scale in enumerate(space.values()):
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
    whole = math.log1p(max(trial.epochs for trial in trials))
    return np.array([math.log1p(trial.epochs) / whole if trial.state == "pruned" and whole > 0 else 1.0 for trial in trials])


def _kept(values: Array, most: int | None) -> list[int]:
    if most is None or len(values) <= most:
        return list(range(len(values)))
    order = np.argsort(values, kind="stable")
    rest = np.sort(order[most // 2 :])
    spread = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(int)]
    return sorted({*order[: most // 2].tolist(), *spread.tolist()})
