"""Grid search: every combination of a few values per hyperparameter, evenly spaced in each scale's own coordinate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.samplers.rounds import ONE_ROUND
from lightning_hp.space import Hparams, Space
from lightning_hp.trial import Mode, Trial

DEFAULT_POINTS = 3


@dataclass(frozen=True)
class Grid:
    """All combinations, the last hyperparameter varying fastest; trial n is combination n.

    Args:
        points: values per hyperparameter: one number for all, or a dict by name (3 for names it leaves out). Both ends
            are included. Integers with fewer values give all they have; choices always give all.

    Raises:
        ConfigError: a count below 1, or (when the search starts) a name that is not in the space.

    >>> from lightning_hp import Log, Choice
    >>> space = Space({"lr": Log(1e-3, 1e-1), "activation": Choice("relu", "tanh")})
    >>> Grid(points=2).propose(space, seed=0, numbers=range(9), history=[])[1:3]
    [{'lr': 0.001, 'activation': 'tanh'}, {'lr': 0.1, 'activation': 'relu'}]
    """

    points: int | Mapping[str, int] = DEFAULT_POINTS

    def __post_init__(self) -> None:
        counts = self.points if isinstance(self.points, Mapping) else {"": self.points}
        for name, count in counts.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                where = f"points[{name!r}]" if name else "points"
                raise ConfigError(f"Grid needs whole {where} of at least 1, got {count!r}")

    def values(self, space: Space) -> dict[str, list[Any]]:
        """The values tried for each hyperparameter.

        Raises:
            ConfigError: ``points`` names a hyperparameter that the space lacks.
        """
        counts = self.points if isinstance(self.points, Mapping) else dict.fromkeys(space, self.points)
        for name in counts:
            if name not in space:
                raise ConfigError(f"Grid points[{name!r}] is not in the space{did_you_mean(name, space)}")
        return {name: scale.grid(counts.get(name, DEFAULT_POINTS)) for name, scale in space.items()}

    def size(self, space: Space) -> int:
        """How many combinations there are."""
        return math.prod(len(each) for each in self.values(space).values())

    def propose(
        self, space: Space, seed: int, numbers: Sequence[int], history: Sequence[Trial], mode: Mode = "min"
    ) -> list[Hparams]:
        values, size = self.values(space), self.size(space)
        return [_combination(values, number) for number in numbers if number < size]

    def round_of(self, number: int) -> range:
        return ONE_ROUND


def _combination(values: dict[str, list[Any]], number: int) -> Hparams:
    picked: Hparams = {}
    for name, each in reversed(values.items()):
        number, index = divmod(number, len(each))
        picked[name] = each[index]
    return dict(reversed(picked.items()))
