"""Samplers: which hyperparameters trial n gets.

A sampler is a pure function of the space, the study's seed, the trials' numbers and the finished trials that it is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, cast, runtime_checkable

from lightning_hp.description import described, named
from lightning_hp.errors import ConfigError, one_of
from lightning_hp.samplers.grid import Grid
from lightning_hp.samplers.optuna import NAME as OPTUNA
from lightning_hp.samplers.optuna import OptunaSampler, optuna_name, optuna_sampler
from lightning_hp.samplers.quasi import Quasi
from lightning_hp.samplers.random import Random
from lightning_hp.samplers.zoom import CoarseToFine
from lightning_hp.space import Hparams, Space
from lightning_hp.trial import Mode, Trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = [
    "CoarseToFine",
    "Explains",
    "Grid",
    "InRounds",
    "OptunaSampler",
    "Quasi",
    "Random",
    "Sampler",
    "WantsRunning",
    "described_strategy",
    "sampler_for",
]

DEFAULT = "coarse-to-fine"
STRATEGIES: dict[str, type[Sampler]] = {DEFAULT: CoarseToFine, "quasi": Quasi, "random": Random, "grid": Grid}
# Optuna's other samplers are named by their class: optuna.samplers.GPSampler.
NAMES = (*STRATEGIES, OPTUNA)


class Sampler(Protocol):
    """What a strategy must be able to do.

    It is asked for one trial whenever a worker is free, with what has finished by then; see `InRounds` for more.
    """

    def propose(
        self, space: Space, seed: int, numbers: Sequence[int], history: Sequence[Trial], mode: Mode = "min"
    ) -> list[Hparams]:
        """Hyperparameters for the trials with these numbers, in that order.

        Args:
            space: where to propose from: ``space.from_unit`` takes points of ``space.dimensions`` numbers from 0 to 1 each,
                and ``space.allows`` says whether hyperparameters meet the constraint.
            seed: the study's.
            numbers: ascending trial numbers.
            history: the finished trials, by number. Numbers below 0 are those of earlier studies, or given by the user.
            mode: whether small values are good, or large ones.

        Returns:
            One dict per number, or fewer when the strategy has nothing left to try.
        """


@runtime_checkable
class InRounds(Protocol):
    """A sampler whose proposals depend on nothing but the seed, the number, and the results of earlier rounds.

    So its trials are the same whatever the number of workers, and those of a round can train as one fit.
    """

    def round_of(self, number: int) -> range:
        """The trials that are proposed together with this one, once all before the first of them have finished."""


@runtime_checkable
class WantsRunning(Protocol):
    """A sampler that is asked for one trial at a time, and shall see in its history the trials that run by then as well.

    These have state ``running`` and no value. A sampler that looks for the most promising point needs them: without, it
    proposes to each free worker about the same point.
    """

    wants_running: bool


@runtime_checkable
class Explains(Protocol):
    """A sampler in rounds that can say how it came to one."""

    def explain(self, space: Space, seed: int, first: int, history: Sequence[Trial], mode: Mode = "min") -> dict[str, Any]:
        """Notes on the round that begins with trial ``first``, as plain values; arguments as of `Sampler.propose`."""


def sampler_for(strategy: str | Sampler | BaseSampler) -> Sampler:
    """The sampler of a strategy's name, or the sampler itself; around one of Optuna's, what makes it one.

    Raises:
        ConfigError: there is no such strategy.
    """
    if _is_optunas(strategy):
        return OptunaSampler(strategy)
    if not isinstance(strategy, str):
        if isinstance(strategy, type):
            raise ConfigError(f"strategy needs a sampler, got the class {strategy.__name__}: write {strategy.__name__}()")
        if not callable(getattr(strategy, "propose", None)):
            raise ConfigError(f"strategy needs a name or a sampler with propose(), got {strategy!r}")
        return cast(Sampler, strategy)
    if strategy == OPTUNA or strategy.startswith(f"{OPTUNA}."):
        return optuna_sampler(strategy)
    if named := optuna_name(strategy):
        raise ConfigError(
            f"strategy={strategy!r} is not one of {', '.join(NAMES)}: that of Optuna is optuna.samplers.{named}(), or its name "
            f"'optuna.samplers.{named}' (pip install 'lightning-hp[optuna]')"
        )
    return STRATEGIES[one_of("strategy", strategy, NAMES)]()


def described_strategy(sampler: Sampler) -> dict[str, Any]:
    """A sampler as a config's ``strategy``, with what is not its default; a grid with its ``points``.

    >>> described_strategy(Random()), described_strategy(Grid(5))
    ({'strategy': 'random'}, {'strategy': 'grid', 'points': 5})
    """
    if isinstance(sampler, Grid):
        return {"strategy": "grid", "points": described(sampler.points)}
    names = {made: name for name, made in STRATEGIES.items()}
    if type(sampler) not in names:
        return {"strategy": described(sampler)}
    return {"strategy": named(names[type(sampler)], sampler, type(sampler)())}


def _is_optunas(strategy: object) -> TypeGuard[BaseSampler]:
    # Whoever has made one has imported Optuna, which takes long.
    optuna = sys.modules.get("optuna")
    return optuna is not None and isinstance(strategy, optuna.samplers.BaseSampler)
