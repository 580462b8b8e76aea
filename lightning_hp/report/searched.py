"""What a report is about: the study as it stands, as plain values, and what several pictures ask of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.advice import Findings
from lightning_hp.attempts import Circumstances
from lightning_hp.report.interventions import Intervention
from lightning_hp.space import Space
from lightning_hp.space.scales import Scale
from lightning_hp.trial import Mode, RoundBegan, Trial

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Searched:
    """A study, to report.

    Attributes:
        root: its folder.
        asked: what the search was asked for.
        space: with choices as the trials have them.
        trials: all, by number; some may run or wait.
        rounds: what the sampler has noted.
        times: when each trial began and ended, by number, in seconds since the epoch of the clock.
        findings: what the finished trials say.
        interventions: what a babysitter, or a person, has done to trials.
        machines: what trials trained on, by number, as far as it is known.
        config: its config.yaml, empty where there is none.
    """

    root: Path
    asked: Mapping[str, Any]
    space: Space
    trials: Sequence[Trial]
    rounds: Sequence[RoundBegan]
    times: Mapping[int, tuple[float, float | None]]
    findings: Findings
    interventions: Sequence[Intervention] = field(default=())
    machines: Mapping[int, Circumstances] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def monitor(self) -> str:
        return str(self.asked["monitor"])

    @property
    def mode(self) -> Mode:
        return "max" if self.asked["mode"] == "max" else "min"

    @property
    def best(self) -> Trial | None:
        """The leaderboard's first; None while no trial is complete."""
        return self.ranked[0] if self.ranked and self.ranked[0].state == "complete" else None

    @cached_property
    def ranked(self) -> list[Trial]:
        """The trials that have a value, best first; those that were pruned come after those that trained to their end."""
        sign = 1.0 if self.mode == "min" else -1.0
        valued = [(trial, trial.value) for trial in self.trials if trial.value is not None and math.isfinite(trial.value)]
        return [trial for trial, value in sorted(valued, key=lambda each: (each[0].state != "complete", sign * each[1]))]

    @cached_property
    def bad(self) -> list[Trial]:
        """Those that ended without a value."""
        return [trial for trial in self.trials if trial.state in ("failed", "diverged")]

    @property
    def scales(self) -> Mapping[str, Scale]:
        """What has a panel or an axis of its own, by name."""
        return self.space.coordinates

    def positions(self, name: str, trials: Sequence[Trial]) -> Array:
        """Where trials lie on the scale of that name, in its unit coordinate; NaN for one that has no such hyperparameter."""
        scale = self.scales[name]
        units = np.full(len(trials), np.nan)
        values = [self.space.flat(trial.hparams) for trial in trials]
        there = [index for index, found in enumerate(values) if name in found]
        given = np.empty(len(there), dtype=object)
        given[:] = [values[index][name] for index in there]
        try:
            units[there] = scale.to_unit(given)
        except (ValueError, TypeError):
            # An earlier run of the study may have had another space.
            units[there] = [_position(scale, value) for value in given]
        return units


def values_of(trials: Sequence[Trial]) -> Array:
    """The trials' values, NaN where there is none."""
    return np.array([math.nan if trial.value is None else trial.value for trial in trials], dtype=float)


def _position(scale: Scale, value: Any) -> float:
    try:
        return float(scale.to_unit(value))
    except (ValueError, TypeError):
        return math.nan
