"""From a config to a `SearchLoop`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_hp.babysit import Babysitter
from lightning_hp.bounds import whole_number
from lightning_hp.cli.classes import import_path
from lightning_hp.cli.sections import SectionFactory, TrainerSection
from lightning_hp.cli.settings import SETTINGS, read_config
from lightning_hp.errors import ConfigError, did_you_mean, one_of
from lightning_hp.fit.signature import arguments
from lightning_hp.loop import SearchLoop
from lightning_hp.pruners import PRUNERS, Pruner
from lightning_hp.samplers import DEFAULT, NAMES, STRATEGIES, Grid
from lightning_hp.space import Hparams, Space, split

SECTIONS = ("model", "data", "trainer", "search")
# What LightningCLI has besides, and where it stands here.
_ELSEWHERE = {
    "seed_everything": "write search.seed",
    "ckpt_path": "each trial starts anew; a model may load weights when it is made",
    "optimizer": "the model's configure_optimizers makes it, and the model's arguments may choose it",
    "lr_scheduler": "the model's configure_optimizers makes it, and the model's arguments may choose it",
}


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the file before the message of what is wrong in it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def load(path: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """A config file with flags laid over its ``search:`` section.

    Raises:
        ConfigError: the file, one of its section or key names, or a setting is wrong. The message starts with the file.
    """
    config = read_config(Path(path))
    with naming(path):
        for section in config:
            if section not in SECTIONS:
                hint = f": {_ELSEWHERE[section]}" if section in _ELSEWHERE else did_you_mean(str(section), SECTIONS)
                raise ConfigError(f"section {section!r} is not one of {', '.join(SECTIONS)}{hint}")
        search = config.get("search") or {}
        if not isinstance(search, Mapping):
            raise ConfigError(f"search needs a mapping of settings, got {search!r}")
        for key in search:
            if key not in SETTINGS:
                hint = did_you_mean(str(key), SETTINGS)
                raise ConfigError(f"search.{key} is not a setting{hint}; there are {', '.join(SETTINGS)}")
        search = {**search, **flags}
        _check_settings(search)
    return {**config, "search": search}


def build(path: str, config: Mapping[str, Any]) -> SearchLoop:
    """The search that a config asks for, checked as far as can be without training.

    Raises:
        ConfigError: something in it is wrong. The message starts with the file.
    """
    with naming(path):
        return _build(config, default_root=f"runs/{Path(path).stem}")


def sections(config: Mapping[str, Any]) -> tuple[SectionFactory, SectionFactory | None, TrainerSection]:
    """What makes the model, the data (None without a section) and the Trainer's arguments.

    Raises:
        ConfigError: a section is wrong.
    """
    model = SectionFactory("model", config.get("model"))
    data = SectionFactory("data", config["data"]) if config.get("data") is not None else None
    return model, data, TrainerSection(config.get("trainer"))


def babysitter_for(settings: Any) -> Babysitter:
    """The Babysitter of a config.

    Raises:
        ConfigError: a setting is none of Babysitter's arguments, or out of its range.
    """
    given = settings if isinstance(settings, Mapping) else {}
    known, _, _ = arguments(Babysitter)
    for key in given:
        if key not in known:
            raise ConfigError(f"search.babysit.{key} is not an argument of Babysitter{did_you_mean(str(key), known)}")
    return Babysitter(**given)


def _check_settings(search: Mapping[str, Any]) -> None:
    """Checks what no class checks under the config's name for it, and what one of the two commands would leave unread."""
    root, seed, babysit = search.get("root", "runs"), search.get("seed", 0), search.get("babysit", False)
    if not isinstance(root, str) or not root.strip() or "\0" in root:
        raise ConfigError(f"search.root needs the name of a folder, got {root!r}")
    whole_number("search.seed", seed, 0)
    for key in ("verbose", "babysit"):
        value = search.get(key, False)
        if not isinstance(value, bool) and not (key == "babysit" and isinstance(value, Mapping)):
            raise ConfigError(f"search.{key} needs true or false, got {value!r}")
    if isinstance(babysit, Mapping):
        babysitter_for(babysit)
    if "space" in search:
        Space(search["space"])


def _build(config: Mapping[str, Any], default_root: str) -> SearchLoop:
    search = dict(config["search"])
    if not search:
        raise ConfigError("section search is missing: it needs monitor, trials and space")
    for key in ("space", "monitor"):
        if key not in search:
            raise ConfigError(f"search.{key} is missing: {SETTINGS[key]}")
    space = Space(search.pop("space"))
    model, data, trainer = sections(config)
    _check_required(space, {"model": model, "data": data})
    strategy = _strategy(search.pop("strategy", DEFAULT), search.pop("points", None))
    if (
        strategy != "grid"
        and not isinstance(strategy, Grid)
        and search.get("trials") is None
        and search.get("max_time") is None
    ):
        raise ConfigError("the search has no end: give search.trials, search.max_time or both")
    babysit = search.pop("babysit", False)
    if isinstance(babysit, Mapping):
        babysit = babysitter_for(babysit)
    if search.get("constraint") is not None:
        search["constraint"] = _constraint(search["constraint"])
    if "pruner" in search:
        search["pruner"] = _pruner(search["pruner"])
    loop = SearchLoop(
        model,
        space=space,
        data=data,
        trainer=trainer.arguments(),
        strategy=strategy,
        babysit=babysit,
        root_dir=search.pop("root", default_root),
        **search,
    )
    _check_types(space, model, data, trainer)
    loop.config = dict(config)
    return loop


def _check_required(space: Space, factories: Mapping[str, SectionFactory | None]) -> None:
    parts = split({name: name for name in space})
    for key, factory in factories.items():
        if factory is None:
            if parts[key]:
                raise ConfigError(f"search.space.{key}.{next(iter(parts[key]))} needs a section {key}, which is missing")
            continue
        _, required, _ = arguments(factory)
        for argument in sorted(required & parts[key].keys()):
            if parts[key][argument] in space.sometimes:
                raise ConfigError(
                    f"{factory.class_path} requires {argument!r}, which search.space.{key}.{argument} does not give in every "
                    f"trial: give the rest a value under {key}.init_args"
                )
        missing = sorted(required - parts[key].keys())
        if missing:
            raise ConfigError(
                f"{factory.class_path} requires {', '.join(map(repr, missing))}: give it under {key}.init_args, or a scale "
                f"under search.space.{key}.{missing[0]}"
            )


def _check_types(space: Space, model: SectionFactory, data: SectionFactory | None, trainer: TrainerSection) -> None:
    for hparams in _corners(space):
        parts = split(hparams)
        model.check(parts["model"])
        trainer.check(parts["trainer"])
        if data is not None:
            data.check(parts["data"])


def _corners(space: Space) -> list[Hparams]:
    """Hyperparameters that hold, between them, both ends of every scale and every choice: what a type check must accept."""
    values = {name: each.scale.grid(2) for name, each in space.layout.items()}
    for name, each in space.layout.items():
        if each.counter is not None:
            values[name] = [[value] for value in values[name]]
    most = max(len(each) for each in values.values())
    return [{name: values[name][index % len(values[name])] for name in space} for index in range(most)]


def _strategy(strategy: Any, points: Any) -> Any:
    """The strategy of a config: a name, or a mapping of that and its arguments."""
    if isinstance(strategy, Mapping):
        strategy = _named("search.strategy", strategy, STRATEGIES)
    elif not isinstance(strategy, str):
        raise ConfigError(f"search.strategy needs one of {', '.join(NAMES)}, got {strategy!r}")
    if points is None:
        return strategy
    if strategy != "grid":
        raise ConfigError(f"search.points is for strategy grid, got strategy {strategy!r}")
    return Grid(points)


def _constraint(path: Any) -> Any:
    """The function that a config names."""
    if not isinstance(path, str):
        raise ConfigError(f"search.constraint needs the path of a function, such as my_module.small_enough, got {path!r}")
    found = import_path("search.constraint", path, "my_module.small_enough")
    if not callable(found):
        raise ConfigError(f"search.constraint {path!r} needs to be a function of hyperparameters, got {found!r}")
    return found


def _pruner(settings: Any) -> Pruner | str | None:
    """The pruner of a config: a name, or a mapping of that and its arguments."""
    if isinstance(settings, Mapping):
        pruner: Pruner = _named("search.pruner", settings, PRUNERS)
        return pruner
    return None if settings is None else one_of("search.pruner", settings, PRUNERS)


def _named(key: str, settings: Mapping[str, Any], kinds: Mapping[str, Any]) -> Any:
    """What a mapping of a name and arguments asks for."""
    if "name" not in settings:
        raise ConfigError(f"{key}.name is missing: one of {', '.join(kinds)}")
    kind = kinds[one_of(f"{key}.name", settings["name"], kinds)]
    given = {name: value for name, value in settings.items() if name != "name"}
    known, _, _ = arguments(kind)
    for name in given:
        if name not in known:
            raise ConfigError(f"{key}.{name} is not an argument of {settings['name']}{did_you_mean(str(name), known)}")
    return kind(**given)
