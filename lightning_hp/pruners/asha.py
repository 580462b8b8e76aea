"""Asynchronous successive halving: whoever comes to a rung is told at once whether to go on."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_hp.description import named
from lightning_hp.pruners.standing import Standing, check, judge_by_rank, rung_at
from lightning_hp.trial import Mode, Unit


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving: a trial goes on from a rung if it is among the best that have come there so far.

    Nobody waits for anybody, which keeps all workers busy; in return who goes on depends on who was first, and early trials
    are compared with few. Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2018.

    Args:
        first: epochs or steps after which a trial is compared for the first time; by default so that there are two rungs.
        factor: one in so many goes on, and without ``rungs`` trains so many times as long until it is compared again.
        unit: ``"epochs"`` or ``"steps"``, as for `Halving`.
        rungs: in place of ``first``, all of them: ``(6, 12)`` compares trials after 6 and after 12.

    Raises:
        ConfigError: a number is not whole or too small, rungs do not rise, or there is no such unit.

    >>> come = {0: Standing(0.5, goes_on=True), 1: Standing(0.4, goes_on=False)}
    >>> [Asha().judge({**come, 2: Standing(value)}, complete=False, mode="max") for value in (0.6, 0.3)]
    [{2: True}, {2: False}]
    """

    first: int | None = None
    factor: int = 4
    unit: Unit = "epochs"
    rungs: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check(self)

    def describe(self) -> str | dict[str, Any]:
        """As a config has it."""
        return named("asha", self, Asha())

    def rung(self, index: int, most: int | None) -> int | None:
        return rung_at(self, index, most)

    def bracket(self, number: int, round_: range) -> range:
        return range(sys.maxsize)

    def judge(self, standings: Mapping[int, Standing], complete: bool, mode: Mode) -> dict[int, bool]:
        return judge_by_rank(standings, self.factor, mode)
