"""From a config to a `SearchLoop`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_hp.babysit import Babysitter
from lightning_hp.cli.sections import SectionFactory, TrainerSection
from lightning_hp.cli.settings import SETTINGS, read_config
from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.fit.signature import arguments
from lightning_hp.loop import SearchLoop
from lightning_hp.samplers import Grid
from lightning_hp.space import Hparams, Space, split

SECTIONS = ("model", "data", "trainer", "search")


def load(path: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """A config file with flags laid over its ``search:`` section.

    Raises:
        ConfigError: the file or one of its section or key names is wrong. The message starts with the file.
    """
    config = read_config(Path(path))
    for section in config:
        if section not in SECTIONS:
            hint = did_you_mean(str(section), SECTIONS)
            raise ConfigError(f"{path}: section {section!r} is not one of {', '.join(SECTIONS)}{hint}")
    search = config.get("search") or {}
    if not isinstance(search, Mapping):
        raise ConfigError(f"{path}: search needs a mapping of settings, got {search!r}")
    for key in search:
        if key not in SETTINGS:
            hint = did_you_mean(str(key), SETTINGS)
            raise ConfigError(f"{path}: search.{key} is not a setting{hint}; there are {', '.join(SETTINGS)}")
    return {**config, "search": {**search, **flags}}


def build(path: str, config: Mapping[str, Any]) -> SearchLoop:
    """The search that a config asks for, checked as far as can be without training.

    Raises:
        ConfigError: something in it is wrong. The message starts with the file.
    """
    try:
        return _build(config, default_root=f"runs/{Path(path).stem}")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def babysitter_for(settings: Any, monitor: Any, mode: Any) -> Babysitter:
    """The Babysitter of a config: by its own settings, and where they are silent by those of the search.

    Raises:
        ConfigError: a setting is none of Babysitter's arguments, or out of its range.
    """
    given = settings if isinstance(settings, Mapping) else {}
    known, _, _ = arguments(Babysitter)
    for key in given:
        if key not in known:
            raise ConfigError(f"search.babysit.{key} is not an argument of Babysitter{did_you_mean(str(key), known)}")
    return Babysitter(**{"monitor": monitor, "mode": mode, **given})


def _build(config: Mapping[str, Any], default_root: str) -> SearchLoop:
    search = dict(config["search"])
    for key in ("space", "monitor"):
        if key not in search:
            raise ConfigError(f"search.{key} is missing: {SETTINGS[key]}")
    space = Space(search.pop("space"))
    model = SectionFactory("model", config.get("model"))
    data = SectionFactory("data", config["data"]) if config.get("data") is not None else None
    trainer = TrainerSection(config.get("trainer"))
    loop = SearchLoop(
        model,
        space=space,
        data=data,
        trainer=trainer.arguments(),
        strategy=_strategy(search.pop("strategy", "random"), search.pop("points", None)),
        babysit=_babysit(search.pop("babysit", False), search["monitor"], search.get("mode", "min")),
        root_dir=str(search.pop("root", default_root)),
        verbose=_boolean("verbose", search.pop("verbose", False)),
        **search,
    )
    for hparams in _corners(space):
        parts = split(hparams)
        model.check(parts["model"])
        trainer.check(parts["trainer"])
        if data is not None:
            data.check(parts["data"])
    loop.config = dict(config)
    return loop


def _corners(space: Space) -> list[Hparams]:
    """Hyperparameters that hold, between them, both ends of every scale and every choice: what a type check must accept."""
    values = {name: scale.grid(2) for name, scale in space.items()}
    most = max(len(each) for each in values.values())
    return [{name: each[index % len(each)] for name, each in values.items()} for index in range(most)]


def _strategy(strategy: Any, points: Any) -> Any:
    if points is None:
        return strategy
    if strategy != "grid":
        raise ConfigError(f"search.points is for strategy grid, got strategy {strategy!r}")
    return Grid(points)


def _babysit(babysit: Any, monitor: Any, mode: Any) -> bool | Babysitter:
    return babysitter_for(babysit, monitor, mode) if isinstance(babysit, Mapping) else _boolean("babysit", babysit)


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"search.{name} needs true or false, got {value!r}")
    return value
