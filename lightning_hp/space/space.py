"""The space of a search: named scales.

A `Space` maps points of the unit cube to hyperparameters and back. Its keys say where a hyperparameter goes: ``data.`` to
the data factory, ``trainer.`` to the Trainer, the rest (with or without ``model.``) to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count, repeat
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_hp.bounds import whole_number, whole_number_or_none
from lightning_hp.description import label, name_of
from lightning_hp.errors import ConfigError
from lightning_hp.space.conditions import Conditional
from lightning_hp.space.constraint import Constraint, first_met, meets
from lightning_hp.space.declaration import TARGETS, checked_name, checked_scale
from lightning_hp.space.layout import laid_out
from lightning_hp.space.scales import Choice, Scale

Hparams = dict[str, Any]
Declared: TypeAlias = Mapping[str, Scale | Conditional | Mapping[str, Any]]

# In the place of a value that does not exist; None is a value.
_ABSENT = object()


class Space(Mapping[str, "Scale | Conditional"]):
    """Named scales, in the order in which they were given.

    Hyperparameters may exist only with some values of others, and may be lists with a value for each layer: see `Scale.when`
    and `Scale.per`. Then not all are in the hyperparameters of each point; the unit cube keeps a fixed number of coordinates,
    one for each value that there may be.

    Args:
        scales: name to scale. A scale may also be a plain dict, as in a YAML config:
            ``{"scale": "log", "low": 1e-4, "high": 1.0}``, with ``"when": {"optimizer": "sgd"}`` and ``"per": "layers"`` where
            it depends on others.
        constraint: a function that says of hyperparameters, given as a dict, whether they may be tried together.

    Raises:
        ConfigError: a name, a scale, a condition or the constraint is wrong; the message names the parameter.

    >>> from lightning_hp import Log
    >>> space = Space({"lr": Log(1e-4, 1.0), "layers": {"scale": "int", "low": 2, "high": 4}})
    >>> space.from_unit([[0.5, 0.0]])
    [{'lr': 0.01, 'layers': 2}]
    """

    def __init__(self, scales: Declared, constraint: Constraint | None = None) -> None:
        if not isinstance(scales, Mapping):
            raise ConfigError(f"space needs scales by name, such as Log(1e-4, 1.0) for 'lr', got {scales!r}")
        if not scales:
            raise ConfigError("space is empty: give at least one scale, such as Log(1e-4, 1.0) for 'lr'")
        if constraint is not None and not callable(constraint):
            raise ConfigError(f"constraint needs a function of hyperparameters that returns True or False, got {constraint!r}")
        self._scales = {checked_name(name): checked_scale(name, scale) for name, scale in scales.items()}
        self.constraint = constraint
        routes: dict[tuple[str, str], str] = {}
        for name in self._scales:
            twin = routes.setdefault(route(name), name)
            if twin != name:
                raise ConfigError(f"space[{name!r}] and space[{twin!r}] both set the same argument: keep one")
        #: The hyperparameters with their places in the unit cube, each after those that decide about it.
        self.layout = laid_out(self._scales)
        #: Whether some hyperparameter, or some value of a list, is not in every point.
        self.conditional = any(isinstance(each, Conditional) for each in self._scales.values())
        placed = [self.layout[name] for name in self]
        self._coordinates = {coordinate: each.scale for each in placed for coordinate in each.coordinates}

    def __getitem__(self, name: str) -> Scale | Conditional:
        return self._scales[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scales)

    def __len__(self) -> int:
        return len(self._scales)

    def __repr__(self) -> str:
        constraint = "" if self.constraint is None else f", constraint={name_of(self.constraint)}"
        return f"Space({self._scales!r}{constraint})"

    @property
    def coordinates(self) -> Mapping[str, Scale]:
        """The scale of each coordinate of the unit cube, in order, by name: of a list ``units[0]``, ``units[1]``, ...

        >>> from lightning_hp import Int
        >>> list(Space({"layers": Int(1, 2), "units": Int(16, 64).per("layers")}).coordinates)
        ['layers', 'units[0]', 'units[1]']
        """
        return self._coordinates

    @property
    def dimensions(self) -> int:
        """How many coordinates the unit cube has."""
        return len(self._coordinates)

    @property
    def sometimes(self) -> set[str]:
        """The hyperparameters that do not exist in every point.

        >>> from lightning_hp import Int
        >>> Space({"layers": Int(1, 3), "units": Int(16, 64).per("layers"), "skip": Int(1, 2).when(layers=[2, 3])}).sometimes
        {'skip'}
        """
        found: set[str] = set()
        for name, each in self.layout.items():
            if each.conditions or found & set(each.parents):
                found.add(name)
        return found

    def from_unit(self, points: ArrayLike) -> list[Hparams]:
        """Hyperparameters at points of the unit cube. A coordinate of what does not exist there may be anything.

        Args:
            points: an array of shape (n, dimensions), every coordinate in [0, 1].

        Returns:
            n dicts of plain Python values.
        """
        units = np.asarray(points, dtype=np.float64)
        if units.ndim != 2 or units.shape[1] != self.dimensions:
            raise ValueError(f"points need shape (n, {self.dimensions}), got {units.shape}")
        columns = [scale.from_unit(units[:, i]).tolist() for i, scale in enumerate(self.coordinates.values())]
        rows = zip(*columns, strict=True)
        if self.conditional:
            return [self.build(dict(zip(self.coordinates, row, strict=True)).__getitem__) for row in rows]
        # A million draws take seconds: asking each name and length again for every row would add a third.
        return [dict(pairs) for pairs in map(zip, repeat(tuple(self)), rows)]

    def build(self, pick: Callable[[str], Any], given: Mapping[str, Any] | None = None) -> Hparams:
        """Hyperparameters picked one after another, in order of dependence and as far as they exist beside the others.

        Args:
            pick: gives the value of a coordinate by its name.
            given: hyperparameters of the space that are not picked; neither their values nor their names are checked.

        >>> from lightning_hp import ReverseLog
        >>> space = Space({"optimizer": Choice("sgd", "adam"), "momentum": ReverseLog(0.9, 0.999).when(optimizer="sgd")})
        >>> space.build({"momentum": 0.95}.__getitem__, {"optimizer": "sgd"})
        {'optimizer': 'sgd', 'momentum': 0.95}
        """
        found = dict(given or {})
        for name, each in self.layout.items():
            if name not in found and each.exists(found):
                values = [pick(coordinate) for coordinate in each.coordinates[: each.size(found)]]
                found[name] = values[0] if each.counter is None else values
        return {name: found[name] for name in self if name in found}

    def to_unit(self, hparams: Sequence[Hparams]) -> NDArray[np.float64]:
        """Points of the unit cube for hyperparameters: the inverse of `from_unit`, of shape (n, dimensions).

        Coordinates of what does not exist are 0.5, the middle of their scale.

        Raises:
            ValueError: a name is missing, unknown, or of what does not exist beside the others, or a value is not one of its
                scale's; or they are no list of hyperparameters.
        """
        if not _are_points(hparams):
            raise ValueError(f"to_unit needs a list of hyperparameters, such as [{{'lr': 0.1}}], got {hparams!r}")
        for point in hparams:
            if self.conditional or point.keys() != self.keys():
                self._check_names(point)
        units = np.full((len(hparams), self.dimensions), 0.5)
        for column, ((name, scale), values) in enumerate(zip(self.coordinates.items(), self._values(hparams), strict=True)):
            there: Any = slice(None)
            if self.conditional:
                there = [row for row, value in enumerate(values) if value is not _ABSENT]
                values = [values[row] for row in there]
            # np.array(values) would turn equal-length lists into a table.
            table = np.empty(len(values), dtype=object)
            table[:] = values
            try:
                units[there, column] = scale.to_unit(table)
            except (ValueError, TypeError) as error:
                raise ValueError(f"hparams[{name!r}]: {error}") from None
        return units

    def flat(self, hparams: Hparams) -> Hparams:
        """The values of hyperparameters by coordinate, as far as they exist.

        >>> from lightning_hp import Int
        >>> space = Space({"layers": Int(1, 3), "units": Int(16, 64).per("layers")})
        >>> space.flat({"layers": 2, "units": [64, 16]})
        {'layers': 2, 'units[0]': 64, 'units[1]': 16}
        """
        values = zip(self.coordinates, self._values([hparams]), strict=True)
        return {name: value for name, (value,) in values if value is not _ABSENT}

    def active(self, hparams: Sequence[Hparams]) -> NDArray[np.bool_]:
        """Which coordinates of the unit cube exist in hyperparameters, of shape (n, dimensions)."""
        columns = [[value is not _ABSENT for value in values] for values in self._values(hparams)]
        table: NDArray[np.bool_] = np.array(columns, dtype=bool).reshape(self.dimensions, len(hparams)).T
        return table

    def allows(self, hparams: Hparams) -> bool:
        """Whether hyperparameters meet the constraint.

        Raises:
            ConfigError: the constraint raises an error, or returns neither True nor False.
        """
        return self.constraint is None or meets(self.constraint, hparams)

    def sample(self, n: int, seed: int = 0) -> list[Hparams]:
        """n independent uniform draws of the unit cube that meet the constraint, as dicts. The same seed gives the same draws.

        Raises:
            ConfigError: a number is negative or not whole, or 10,000 draws in a row break the constraint.

        >>> from lightning_hp import Log
        >>> Space({"lr": Log(1e-4, 1.0)}).sample(2, seed=0)
        [{'lr': 0.0353058563041}, {'lr': 0.00119990497794}]
        """
        n, generator = whole_number("sample(n=)", n, 0), np.random.default_rng(whole_number_or_none("sample(seed=)", seed, 0))
        if self.constraint is None:
            return self.from_unit(generator.random((n, self.dimensions)))
        draws = (self.from_unit(generator.random((1, self.dimensions)))[0] for _ in count())
        return [first_met(self.constraint, draws) for _ in range(n)]

    def describe(self) -> dict[str, dict[str, Any]]:
        """The scales and their conditions as plain values, as they are written in a YAML config."""
        return {name: scale.describe() for name, scale in self.items()}

    def labels(self, hparams: Hparams) -> Hparams:
        """Hyperparameters as they are stored: choices such as classes by their name."""
        return {
            name: [label(each) for each in value] if self._is_list(name) else label(value) for name, value in hparams.items()
        }

    def from_labels(self, labels: Hparams) -> Hparams:
        """The way back from `labels` to the values that the user gave."""
        values = dict(labels)
        for name, each in self.layout.items():
            if not isinstance(each.scale, Choice) or (name not in labels and each.parents):
                continue
            mine = {str(label(value)): value for value in each.scale.values}
            stored = labels[name]
            values[name] = [mine[str(one)] for one in stored] if self._is_list(name) else mine[str(stored)]
        return values

    def _is_list(self, name: str) -> bool:
        return name in self.layout and self.layout[name].counter is not None

    def _values(self, hparams: Sequence[Hparams]) -> Iterator[list[Any]]:
        """The values of each coordinate in hyperparameters; `_ABSENT` where it does not exist."""
        for name in self:
            each = self.layout[name]
            if each.counter is None:
                yield [point.get(name, _ABSENT) for point in hparams]
                continue
            for index in range(len(each.columns)):
                lists = [point.get(name, ()) for point in hparams]
                yield [values[index] if index < len(values) else _ABSENT for values in lists]

    def _check_names(self, point: Hparams) -> None:
        """Raises ValueError unless a point has exactly the hyperparameters that exist in it, and lists of the right length."""
        if not point.keys() <= self.keys() or not self.conditional:
            raise ValueError(f"hparams need the names {list(self)}, got {list(point)}")
        for name, each in self.layout.items():
            if name not in point:
                if each.exists(point):
                    raise ValueError(f"hparams[{name!r}] is missing, which exists beside the others: {point!r}")
                continue
            if not each.exists(point):
                raise ValueError(f"hparams[{name!r}]: {each.why(point)}")
            if each.counter is not None:
                values, length = point[name], point[each.counter]
                # A number that is not on its scale is told as that.
                if not isinstance(values, list) or (length in range(len(each.columns) + 1) and len(values) != length):
                    raise ValueError(f"hparams[{name!r}] needs a list of {each.counter}={length!r} values, got {values!r}")


def route(name: str) -> tuple[str, str]:
    """Where a hyperparameter goes, and the argument's name there.

    >>> route("data.batch_size"), route("lr"), route("model.lr")
    (('data', 'batch_size'), ('model', 'lr'), ('model', 'lr'))
    """
    target, dot, rest = name.partition(".")
    return (target, rest) if dot and target in TARGETS else ("model", name)


def _are_points(hparams: Any) -> bool:
    """Whether these are several hyperparameters, each by its name."""
    several = isinstance(hparams, Collection) and not isinstance(hparams, Mapping)
    return several and all(isinstance(point, Mapping) for point in hparams)


def split(hparams: Hparams) -> dict[str, Hparams]:
    """Hyperparameters by where they go: ``{"model": {...}, "data": {...}, "trainer": {...}}``."""
    parts: dict[str, Hparams] = {target: {} for target in TARGETS}
    for name, value in hparams.items():
        target, argument = route(name)
        parts[target][argument] = value
    return parts
