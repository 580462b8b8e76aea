"""What finished trials say of their space: what to change about it, and the space to search next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_hp.advice.best import Range, ranges
from lightning_hp.advice.diverged import Limit, limit
from lightning_hp.advice.edges import edges
from lightning_hp.advice.gain import Gain, gain
from lightning_hp.advice.importance import Importance, importance
from lightning_hp.advice.rescale import rescaled
from lightning_hp.advice.resize import Bounded, narrowed, widened
from lightning_hp.samplers.evidence import evidence
from lightning_hp.samplers.threads import one_thread
from lightning_hp.space import Space
from lightning_hp.space.layout import MOST_LAYERS
from lightning_hp.space.scales import Choice, Scale
from lightning_hp.trial import Mode, RoundBegan, Trial

# More would make the forest slow.
MOST_TREES_SEE = 1024
# A value of a choice is of no use where the best point has it so seldom, and its trials are so bad so seldom by chance.
USELESS, BAD = 0.05, 0.01


@dataclass(frozen=True)
class Findings:
    """What finished trials say of their space.

    Attributes:
        space: that was searched.
        finished: how many trials have finished.
        importance: of each hyperparameter.
        fixed: the value of each that had only one in all trials, which say nothing of it.
        ranges: where the best value of each coordinate may lie; empty where no trial is better than another.
        wider: hyperparameters whose best trials lie at an end, with the scale that reaches further there, by name and whether
            it is the upper end.
        limit: the part of one scale where fits diverge.
        gain: what more trials are likely to bring; None where too few have finished to tell, or of a grid.
    """

    space: Space
    finished: int
    importance: Mapping[str, Importance]
    fixed: Mapping[str, Any]
    ranges: Mapping[str, Range]
    wider: Mapping[tuple[str, bool], Bounded]
    limit: Limit | None
    gain: Gain | None

    @property
    def next_space(self) -> Space:
        """The space to search next: narrowed to where the best may lie, widened where it may lie beyond an end.

        Only hyperparameters that matter are changed, as far as the trials tell, and where fits diverge. Conditions stay; what
        can no longer exist with what is left of the others is left out.
        """
        return rescaled(self.space, {name: self._next(name, each.scale) for name, each in self.space.layout.items()})

    def _next(self, name: str, scale: Scale) -> Scale:
        found = self._range(name) if self.importance[name].matters else None
        cut = self.limit if self.limit is not None and self.limit.name == name else None
        if isinstance(scale, Choice):
            return _useful(scale, found, cut)
        assert isinstance(scale, Bounded), scale
        part = narrowed(scale, found.low, found.high) if found is not None else scale
        if cut is not None and part.low < cut.value < part.high:
            part = replace(part, **{"high" if cut.side == "above" else "low": cut.value})
        for upper in (False, True):
            if (wider := self.wider.get((name, upper))) is not None:
                end = "high" if upper else "low"
                part = replace(part, **{end: getattr(wider, end)})
        return part

    def _range(self, name: str) -> Range | None:
        """Where the best value of a hyperparameter may lie; of a list that of any of its values."""
        found = [self.ranges[each] for each in self.space.layout[name].coordinates if each in self.ranges]
        if not found:
            return None
        return Range(
            low=min(each.low for each in found),
            high=max(each.high for each in found),
            chances=tuple(map(max, zip(*(each.chances for each in found), strict=True))),
            worse=tuple(map(max, zip(*(each.worse for each in found), strict=True))),
        )


def find(
    space: Space, trials: Sequence[Trial], mode: Mode = "min", rounds: Sequence[RoundBegan] = (), grid: bool = False
) -> Findings:
    """What finished trials say.

    Args:
        space: that they were drawn from.
        trials: of one study; those that have not finished say nothing.
        mode: of the objective.
        rounds: what the sampler has noted, for those that learn from finished trials.
        grid: whether they are a grid's, of which more like these cannot be had: it goes in order, and ends.
    """
    finished = [trial for trial in trials if trial.finished]
    with one_thread():
        told = _thinned([trial for trial in finished if trial.state != "failed"])
        seen = evidence(space, told, mode)
        matter = importance(space, seen, _groups(told, rounds))
        # What tells nothing apart narrows nothing either.
        asked = any(each.matters for each in matter.values())
        found = ranges(space, finished, mode) if asked else {}
        cut = limit(space, finished, mode)
    wider = {
        (name, upper): scale
        for name, upper in (edges(space, seen) if asked else ())
        if matter[name].matters and (scale := _wider(space, name, upper, cut)) is not None
    }
    fixed = {
        name: next(trial.hparams[name] for trial in told if name in trial.hparams)
        for name, each in matter.items()
        if not each.varied
    }
    brings = None if grid else gain(finished, mode, rounds)
    return Findings(space, len(finished), matter, fixed, found, wider, cut, brings)


def _thinned(trials: list[Trial]) -> list[Trial]:
    """At most so many of them, drawn at random."""
    if len(trials) <= MOST_TREES_SEE:
        return trials
    drawn = np.random.default_rng(0).choice(len(trials), MOST_TREES_SEE, replace=False)
    return [trials[index] for index in np.sort(drawn)]


def _groups(trials: Sequence[Trial], rounds: Sequence[RoundBegan]) -> NDArray[np.int64]:
    """Which trials were proposed alike: those before the sampler began to learn, and those after; else the two halves."""
    numbers = np.array([trial.number for trial in trials], dtype=np.int64)
    if not rounds or not len(numbers):
        return np.zeros(len(numbers), dtype=np.int64)
    first = min(began.first for began in rounds)
    return (numbers >= (first if first > numbers[0] else np.median(numbers))).astype(np.int64)


def _wider(space: Space, name: str, upper: bool, cut: Limit | None) -> Bounded | None:
    scale = space.layout[name].scale
    assert isinstance(scale, Bounded), scale
    if cut is not None and cut.name == name and cut.side == ("above" if upper else "below"):
        return None
    wider = widened(name, scale, upper)
    counts = any(each.counter == name for each in space.layout.values())
    return None if counts and wider is not None and wider.high > MOST_LAYERS else wider


def _useful(scale: Choice, found: Range | None, cut: Limit | None) -> Choice:
    """A choice without the values that are of no use."""
    kept = list(scale.values)
    for index, value in enumerate(scale.values):
        useless = found is not None and found.chances[index] < USELESS and found.worse[index] < BAD / len(scale.values)
        diverges = cut is not None and scale.to_unit(value) == cut.unit
        if useless or diverges:
            kept = [each for each in kept if each is not value]
    return scale if len(kept) in (0, len(scale.values)) else Choice.of(kept)
