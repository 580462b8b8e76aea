"""The space of a search: named scales.

A `Space` maps points of the unit cube to hyperparameters and back. Its keys say where a hyperparameter goes: ``data.`` to
the data factory, ``trainer.`` to the Trainer, the rest (with or without ``model.``) to the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_hp.errors import ConfigError, one_of
from lightning_hp.scales import Choice, Int, Linear, Log, LogInt, ReverseLog, Scale, label

Hparams = dict[str, Any]

SCALES: dict[str, type[Scale]] = {
    "linear": Linear,
    "log": Log,
    "reverse_log": ReverseLog,
    "int": Int,
    "log_int": LogInt,
    "choice": Choice,
}
TARGETS = ("model", "data", "trainer")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class Space(Mapping[str, Scale]):
    """Named scales, in the order in which they were given.

    Args:
        scales: name to scale. A scale may also be a plain dict, as in a YAML config:
            ``{"scale": "log", "low": 1e-4, "high": 1.0}``.

    Raises:
        ConfigError: a name or a scale is wrong; the message names the parameter.

    >>> space = Space({"lr": Log(1e-4, 1.0), "layers": {"scale": "int", "low": 2, "high": 4}})
    >>> space.from_unit([[0.5, 0.0]])
    [{'lr': 0.01, 'layers': 2}]
    """

    def __init__(self, scales: Mapping[str, Scale | Mapping[str, Any]]) -> None:
        if not isinstance(scales, Mapping):
            raise ConfigError(f"space needs scales by name, such as Log(1e-4, 1.0) for 'lr', got {scales!r}")
        if not scales:
            raise ConfigError("space is empty: give at least one scale, such as Log(1e-4, 1.0) for 'lr'")
        self._scales = {_checked_name(name): _as_scale(name, scale) for name, scale in scales.items()}
        routes: dict[tuple[str, str], str] = {}
        for name in self._scales:
            twin = routes.setdefault(route(name), name)
            if twin != name:
                raise ConfigError(f"space[{name!r}] and space[{twin!r}] both set the same argument: keep one")

    def __getitem__(self, name: str) -> Scale:
        return self._scales[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scales)

    def __len__(self) -> int:
        return len(self._scales)

    def __repr__(self) -> str:
        return f"Space({self._scales!r})"

    def from_unit(self, points: ArrayLike) -> list[Hparams]:
        """Hyperparameters at points of the unit cube.

        Args:
            points: an array of shape (n, len(space)), every coordinate in [0, 1].

        Returns:
            n dicts of plain Python values.
        """
        units = np.asarray(points, dtype=np.float64)
        if units.ndim != 2 or units.shape[1] != len(self):
            raise ValueError(f"points need shape (n, {len(self)}), got {units.shape}")
        columns = [scale.from_unit(units[:, i]).tolist() for i, scale in enumerate(self.values())]
        # A million draws take seconds: asking each name and length again for every row would add a third.
        names, rows = repeat(tuple(self)), zip(*columns, strict=True)
        return [dict(pairs) for pairs in map(zip, names, rows)]

    def to_unit(self, hparams: list[Hparams]) -> NDArray[np.float64]:
        """Points of the unit cube for hyperparameters: the inverse of `from_unit`, of shape (n, len(space)).

        Raises:
            ValueError: a name is missing or unknown, or a value is not one of its scale's.
        """
        for point in hparams:
            if point.keys() != self.keys():
                raise ValueError(f"hparams need the names {list(self)}, got {list(point)}")
        units = np.empty((len(hparams), len(self)))
        values = np.empty(len(hparams), dtype=object)
        for column, (name, scale) in enumerate(self.items()):
            values[:] = [point[name] for point in hparams]
            try:
                units[:, column] = scale.to_unit(values)
            except (ValueError, TypeError) as error:
                raise ValueError(f"hparams[{name!r}]: {error}") from None
        return units

    def sample(self, n: int, seed: int = 0) -> list[Hparams]:
        """n independent uniform draws of the unit cube, as dicts. The same seed gives the same draws.

        >>> Space({"lr": Log(1e-4, 1.0)}).sample(2, seed=0)
        [{'lr': 0.0353058563041}, {'lr': 0.00119990497794}]
        """
        return self.from_unit(np.random.default_rng(seed).random((n, len(self))))

    def describe(self) -> dict[str, dict[str, Any]]:
        """The space as plain values, as it is written in a YAML config."""
        return {name: scale.describe() for name, scale in self.items()}

    def labels(self, hparams: Hparams) -> Hparams:
        """Hyperparameters as they are stored: choices such as classes by their name."""
        return {name: label(value) for name, value in hparams.items()}

    def from_labels(self, labels: Hparams) -> Hparams:
        """The way back from `labels` to the values that the user gave."""
        values = dict(labels)
        for name, scale in self.items():
            if isinstance(scale, Choice):
                values[name] = {str(label(value)): value for value in scale.values}[str(labels[name])]
        return values


def route(name: str) -> tuple[str, str]:
    """Where a hyperparameter goes, and the argument's name there.

    >>> route("data.batch_size"), route("lr"), route("model.lr")
    (('data', 'batch_size'), ('model', 'lr'), ('model', 'lr'))
    """
    target, dot, rest = name.partition(".")
    return (target, rest) if dot and target in TARGETS else ("model", name)


def split(hparams: Hparams) -> dict[str, Hparams]:
    """Hyperparameters by where they go: ``{"model": {...}, "data": {...}, "trainer": {...}}``."""
    parts: dict[str, Hparams] = {target: {} for target in TARGETS}
    for name, value in hparams.items():
        target, argument = route(name)
        parts[target][argument] = value
    return parts


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in TARGETS:
        raise ConfigError(f"space[{name!r}]: names are Python names, dotted where they go deeper, such as 'data.batch_size'")
    return name


def _as_scale(name: str, scale: object) -> Scale:
    if isinstance(scale, Scale):
        return scale
    if not isinstance(scale, Mapping):
        raise ConfigError(
            f"space[{name!r}] needs a scale such as Log(1e-4, 1.0), in a config {{scale: log, low: 1e-4, high: 1.0}}, got "
            f"{scale!r}; a fixed value belongs to the factory, in a config to init_args"
        )
    settings = dict(scale)
    kind = one_of(f"space[{name!r}]: scale", settings.pop("scale", None), SCALES)
    expected = {"values"} if kind == "choice" else {"low", "high"}
    if settings.keys() != expected:
        got = ", ".join(map(str, settings)) or "nothing"
        raise ConfigError(f"space[{name!r}]: scale {kind} needs {' and '.join(sorted(expected))}, got {got}")
    if kind == "choice" and not isinstance(settings["values"], (list, tuple)):
        raise ConfigError(f"space[{name!r}]: choice needs a list of values, got {settings['values']!r}")
    try:
        return Choice.of(settings["values"]) if kind == "choice" else SCALES[kind](**settings)
    except ConfigError as error:
        raise ConfigError(f"space[{name!r}]: {error}") from None
