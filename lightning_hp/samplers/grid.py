"""Grid search: every combination of a few values per hyperparameter, evenly spaced in each scale's own coordinate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from typing import Any

from lightning_hp.bounds import make_whole, whole_number
from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.samplers.identity import Identity
from lightning_hp.samplers.rounds import ONE_ROUND
from lightning_hp.space import Hparams, Space
from lightning_hp.space.constraint import none_met
from lightning_hp.trial import Mode, Trial

DEFAULT_POINTS = 3
# Without conditions and constraints combinations are counted; otherwise they have to be gone through.
MOST_COMBINATIONS = 100_000


@dataclass(frozen=True)
class Grid:
    """All combinations, the last hyperparameter varying fastest; trial n is combination n.

    A hyperparameter varies where it exists only, a list in each of its values, and what breaks the space's constraint is left
    out. Those that others depend on vary more slowly than these.

    Args:
        points: values per hyperparameter: one number for all, or a dict by name (3 for names it leaves out). Both ends
            are included. Integers with fewer values give all they have; choices always give all.

    Raises:
        ConfigError: a count below 1, or (when the search starts) a name that is not in the space, more than 100,000
            combinations where not all exist, or none that meets the constraint.

    >>> from lightning_hp import Log, Choice
    >>> space = Space({"lr": Log(1e-3, 1e-1), "activation": Choice("relu", "tanh")})
    >>> Grid(points=2).propose(space, seed=0, numbers=range(9), history=[])[1:3]
    [{'lr': 0.001, 'activation': 'tanh'}, {'lr': 0.1, 'activation': 'relu'}]
    """

    points: int | Mapping[str, int] = DEFAULT_POINTS

    def __post_init__(self) -> None:
        if isinstance(self.points, Mapping):
            points = {name: whole_number(f"Grid points[{name!r}]", count, 1) for name, count in self.points.items()}
            object.__setattr__(self, "points", points)
        else:
            make_whole(self, points=1)

    def values(self, space: Space) -> dict[str, list[Any]]:
        """The values tried for each hyperparameter.

        Raises:
            ConfigError: ``points`` names a hyperparameter that the space lacks.
        """
        return _values(space, self._counts(space))

    def size(self, space: Space) -> int:
        """How many combinations there are."""
        if _has_gaps(space):
            return len(_combinations(Identity(space), self._counts(space)))
        return math.prod(len(each) for each in self.values(space).values())

    def propose(
        self, space: Space, seed: int, numbers: Sequence[int], history: Sequence[Trial], mode: Mode = "min"
    ) -> list[Hparams]:
        values, size = self.values(space), self.size(space)
        there = [number for number in numbers if number < size]
        if _has_gaps(space):
            combinations = _combinations(Identity(space), self._counts(space))
            return [dict(combinations[number]) for number in there]
        return [_combination(values, number) for number in there]

    def round_of(self, number: int) -> range:
        return ONE_ROUND

    def _counts(self, space: Space) -> tuple[int, ...]:
        """The points of each hyperparameter in turn."""
        counts = self.points if isinstance(self.points, Mapping) else dict.fromkeys(space, self.points)
        for name in counts:
            if name not in space:
                raise ConfigError(f"Grid points[{name!r}] is not in the space{did_you_mean(name, space)}")
        return tuple(counts.get(name, DEFAULT_POINTS) for name in space)


def _values(space: Space, counts: tuple[int, ...]) -> dict[str, list[Any]]:
    return {name: space.layout[name].scale.grid(count) for name, count in zip(space, counts, strict=True)}


def _combination(values: dict[str, list[Any]], number: int) -> Hparams:
    picked: Hparams = {}
    for name, each in reversed(values.items()):
        number, index = divmod(number, len(each))
        picked[name] = each[index]
    return dict(reversed(picked.items()))


def _has_gaps(space: Space) -> bool:
    """Whether some combinations of values are none of the space."""
    return space.conditional or space.constraint is not None


# The next trial and their number are asked for again and again.
@lru_cache(maxsize=4)
def _combinations(key: Identity, counts: tuple[int, ...]) -> list[Hparams]:
    space = key.space
    found = list(islice(_expanded(space, _values(space, counts), list(space.layout), {}), MOST_COMBINATIONS + 1))
    if len(found) > MOST_COMBINATIONS:
        raise ConfigError(
            f"Grid has more than {MOST_COMBINATIONS:,} combinations, too many to see which of them exist: take fewer points, "
            "or random"
        )
    allowed = [each for each in found if space.allows(each)]
    if not allowed:
        assert space.constraint is not None
        raise none_met(space.constraint, len(found))
    return allowed


def _expanded(space: Space, values: dict[str, list[Any]], names: list[str], picked: Hparams) -> Iterator[Hparams]:
    """All combinations of the hyperparameters that exist, of which some are picked already."""
    if not names:
        yield {name: picked[name] for name in space if name in picked}
        return
    (name, *others), each = names, space.layout[names[0]]
    if not each.exists(picked):
        yield from _expanded(space, values, others, picked)
        return
    options: Iterable[Any] = values[name]
    if each.counter is not None:
        options = map(list, product(values[name], repeat=each.size(picked)))
    for option in options:
        yield from _expanded(space, values, others, {**picked, name: option})
