"""Successive halving: all of a bracket train a little, the best of them more, until the best of all have trained to the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning_hp.bounds import make_whole
from lightning_hp.description import named
from lightning_hp.errors import one_of
from lightning_hp.pruners.standing import Standing, check, judge_by_rank, rung_at
from lightning_hp.trial import Mode, Unit

# Trials of a bracket where the search has no number of trials.
SIZE = 32


@dataclass(frozen=True)
class Halving:
    """Successive halving in rungs: where all trials of a bracket have come to a rung, the best of them go on.

    Who goes on depends on the trials alone, never on the number of workers or which was first. A bracket is a round of the
    strategy where that has rounds, otherwise the whole search.

    With ``size="all"`` it is the whole search in any case: each trial trains to the first rung and waits there, rounds are
    proposed by how those before them stand, and when no more trials begin the best of all go on. Until then none is complete.
    With few epochs to spend that finds better trials: ``Halving(rungs=(6, 12), factor=6, size="all")`` for trials of 27 epochs.
    Where early epochs tell little, `Progressive` finds better ones still.

    Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", 2016.

    Args:
        first: epochs or steps after which trials are compared for the first time; by default so that there are two rungs.
        factor: one in so many goes on, and without ``rungs`` trains so many times as long until it is compared again.
        unit: ``"epochs"`` or ``"steps"`` of the optimizer. Trials are compared only at the end of an epoch, so a rung in steps
            is reached at the end of the first epoch that has come so far: choose rungs further apart than an epoch.
        size: trials of a bracket, or ``"all"``. Give one where a search without rounds has very many trials, or no number of
            them (then 32), or is to grow later: what has been decided in a bracket stays so, whoever comes to it afterwards.
        rungs: in place of ``first``, all of them: ``(6, 12)`` compares trials after 6 and after 12.

    Raises:
        ConfigError: a number is not whole or too small, rungs do not rise, or there is no such unit or size.

    >>> standings = {0: Standing(0.5), 1: Standing(0.9), 2: Standing(0.7), 3: Standing(None)}
    >>> Halving(factor=2).judge(standings, complete=True, mode="max")
    {0: False, 1: True, 2: True, 3: False}
    >>> Halving(factor=2).judge(standings, complete=False, mode="max")
    {}
    """

    first: int | None = None
    factor: int = 4
    unit: Unit = "epochs"
    size: int | Literal["all"] | None = None
    rungs: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check(self)
        if isinstance(self.size, str):
            one_of("Halving(size=)", self.size, ("all",))
        elif self.size is not None:
            make_whole(self, size=1)

    def describe(self) -> str | dict[str, Any]:
        """As a config has it."""
        return named("halving", self, Halving())

    def rung(self, index: int, most: int | None) -> int | None:
        return rung_at(self, index, most)

    def bracket(self, number: int, round_: range) -> range:
        if self.size == "all":
            return range(sys.maxsize)
        size = self.size or (len(round_) if round_.stop < sys.maxsize else SIZE)
        first = round_.start + (number - round_.start) // size * size
        return range(first, min(first + size, round_.stop))

    def judge(self, standings: Mapping[int, Standing], complete: bool, mode: Mode) -> dict[int, bool]:
        return judge_by_rank(standings, self.factor, mode) if complete else {}
