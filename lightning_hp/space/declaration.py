"""What a user declares for a hyperparameter: its name, and its scale as an object or as written in a config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightning_hp.bounds import is_list
from lightning_hp.errors import ConfigError, one_of
from lightning_hp.space.conditions import Conditional
from lightning_hp.space.scales import Choice, Int, Linear, Log, LogInt, ReverseLog, Scale

SCALES: dict[str, type[Scale]] = {
    "linear": Linear,
    "log": Log,
    "reverse_log": ReverseLog,
    "int": Int,
    "log_int": LogInt,
    "choice": Choice,
}
TARGETS = ("model", "data", "trainer")
# Keys of a scale in a config, each the method of the same name.
_DEPENDENCE = ("when", "per")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def checked_name(name: object) -> str:
    """A name of a space. Raises ConfigError if it cannot be one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in TARGETS:
        raise ConfigError(f"space[{name!r}]: names are Python names, dotted where they go deeper, such as 'data.batch_size'")
    return name


def checked_scale(name: str, scale: object) -> Scale | Conditional:
    """A scale as it is declared, or written as a plain dict.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(scale, (Scale, Conditional)):
        return scale
    if not isinstance(scale, Mapping):
        raise ConfigError(
            f"space[{name!r}] needs a scale such as Log(1e-4, 1.0), in a config {{scale: log, low: 1e-4, high: 1.0}}, got "
            f"{scale!r}; a fixed value belongs to the factory, in a config to init_args"
        )
    settings = dict(scale)
    dependence = {key: settings.pop(key) for key in _DEPENDENCE if key in settings}
    if "scale" not in settings:
        inner = [key for key, each in settings.items() if isinstance(each, (Scale, Conditional, Mapping))]
        deeper = f"; what lies deeper has a dotted name, space['{name}.{inner[0]}']" if inner else ""
        raise ConfigError(f"space[{name!r}] has no scale, one of {', '.join(SCALES)}, got {scale!r}{deeper}")
    kind = one_of(f"space[{name!r}]: scale", settings.pop("scale"), SCALES)
    expected = {"values"} if kind == "choice" else {"low", "high"}
    if settings.keys() != expected:
        got = ", ".join(map(str, settings)) or "nothing"
        raise ConfigError(f"space[{name!r}]: scale {kind} needs {' and '.join(sorted(expected))}, got {got}")
    if kind == "choice" and not is_list(settings["values"]):
        raise ConfigError(f"space[{name!r}]: choice needs a list of values, got {settings['values']!r}")
    try:
        made: Any = Choice.of(settings["values"]) if kind == "choice" else SCALES[kind](**settings)
        for key, value in dependence.items():
            made = getattr(made, key)(value)
    except ConfigError as error:
        raise ConfigError(f"space[{name!r}]: {error}") from None
    declared: Scale | Conditional = made
    return declared
