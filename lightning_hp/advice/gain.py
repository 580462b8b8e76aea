"""What more trials are likely to bring, by what as many have brought so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_hp.trial import Mode, RoundBegan, Trial

LEAST_TRIALS = 8
# Of ten searches that go on, nine gain no more than `most`.
CERTAIN = 0.9
# Less than this share of the distance from the median to the best is little.
LITTLE = 0.05


@dataclass(frozen=True)
class Gain:
    """How much better the best value is likely to become by so many trials more.

    Attributes:
        trials: how many more.
        expected: the improvement on average, in units of the objective and never below 0.
        most: what nine of ten such searches stay below.
        little: whether even that is small beside the differences between the trials.
        in_rounds: whether trials of an adaptive sampler are counted by its later rounds only.
    """

    trials: int
    expected: float
    most: float
    little: bool
    in_rounds: bool


def gain(trials: Sequence[Trial], mode: Mode, rounds: Sequence[RoundBegan] = ()) -> Gain | None:
    """What further trials are likely to bring: as much as the last doubling of their number did, or less.

    Half of the trials, drawn at random, has some best value, and all of them a better one or the same: the difference is what
    a doubling brings. Its mean is that of the expected best of n trials (Dodge et al., Show Your Work, 2019) between n / 2
    and n, exactly and without drawing. The next doubling brings less where the objective has a bound.

    This takes trials for independent draws of one distribution. Those of a sampler that learns are not, so of these only the
    later half counts, by whole rounds, as if the next rounds were like them.

    Args:
        trials: any; the complete ones count.
        mode: of the objective.
        rounds: what the sampler has noted.

    Returns:
        None with fewer than 8 trials.
    """
    costs = {
        trial.number: trial.value if mode == "min" else -trial.value
        for trial in trials
        if trial.state == "complete" and trial.value is not None and np.isfinite(trial.value)
    }
    starts = [began.first for began in rounds if sum(number >= began.first for number in costs) * 2 >= len(costs)]
    first = max(starts, default=min(costs, default=0))
    if rounds and not starts:
        first = sorted(costs)[len(costs) // 2] if costs else 0
    counted = np.sort([cost for number, cost in costs.items() if number >= first])
    count = len(counted)
    if count < LEAST_TRIALS:
        return None
    half = count // 2
    # How likely the best of a half is the first, the second, ... of all.
    likely = np.empty(count - half + 1)
    left = 1.0
    for rank in range(len(likely)):
        likely[rank] = left * half / (count - rank)
        left -= likely[rank]
    brought = counted[: len(likely)] - counted[0]
    # What an earlier trial has found already is no gain.
    brought = np.maximum(brought - (counted[0] - min(costs.values())), 0.0)
    most = float(brought[np.searchsorted(np.cumsum(likely), CERTAIN)])
    spread = float(np.median(list(costs.values()))) - min(costs.values())
    return Gain(count, float(likely @ brought), most, most <= LITTLE * spread, bool(rounds))
