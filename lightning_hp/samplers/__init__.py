"""Samplers: which hyperparameters trial n gets.

A sampler is a pure function of the space, the study's seed, the trials' numbers and the finished trials that it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lightning_hp.errors import ConfigError, one_of
from lightning_hp.samplers.grid import Grid
from lightning_hp.samplers.random import Random
from lightning_hp.space import Hparams, Space
from lightning_hp.trial import Trial

__all__ = ["Grid", "Random", "Sampler", "sampler_for"]

STRATEGIES: dict[str, type[Sampler]] = {"random": Random, "grid": Grid}


class Sampler(Protocol):
    """What a strategy must be able to do."""

    def propose(self, space: Space, seed: int, numbers: Sequence[int], history: Sequence[Trial]) -> list[Hparams]:
        """Hyperparameters for the trials with these numbers, in that order.

        Args:
            space: where to propose from.
            seed: the study's.
            numbers: ascending trial numbers.
            history: the finished trials, by number.

        Returns:
            One dict per number, or fewer when the strategy has nothing left to try.
        """


def sampler_for(strategy: str | Sampler) -> Sampler:
    """The sampler of a strategy's name, or the sampler itself.

    Raises:
        ConfigError: there is no such strategy.
    """
    if not isinstance(strategy, str):
        if isinstance(strategy, type):
            raise ConfigError(f"strategy needs a sampler, got the class {strategy.__name__}: write {strategy.__name__}()")
        if not callable(getattr(strategy, "propose", None)):
            raise ConfigError(f"strategy needs a name or a sampler with propose(), got {strategy!r}")
        return strategy
    return STRATEGIES[one_of("strategy", strategy, STRATEGIES)]()
