"""From a config to a `SearchLoop`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningCLI

from lightning_hp.babysit import Babysitter
from lightning_hp.bounds import folder, whole_number
from lightning_hp.cli.assembly import Assembly
from lightning_hp.cli.classes import check_names, import_class, import_path
from lightning_hp.cli.names import Keys, given_at
from lightning_hp.cli.parts import Made, TrainerArguments
from lightning_hp.cli.reading import corners, given_by, sections_for_fit
from lightning_hp.cli.sections import check_sections
from lightning_hp.cli.settings import SETTINGS, read_config
from lightning_hp.cli.unrun import fit_parser, sections_of, unrun
from lightning_hp.errors import ConfigError, did_you_mean, one_of
from lightning_hp.executors.choose import EXECUTORS
from lightning_hp.executors.ray import RayCluster
from lightning_hp.loop import SearchLoop
from lightning_hp.pruners import PRUNERS, AnyPruner, check_not_optunas
from lightning_hp.samplers import DEFAULT, NAMES, STRATEGIES, Grid
from lightning_hp.search.checks import checked_fuse
from lightning_hp.signature import arguments
from lightning_hp.space import Space
from lightning_hp.study.config import FILE as WRITTEN
from lightning_hp.study.store import FILE as STUDY

# How a message begins that is about a scale or a setting.
_ABOUT = re.compile(r"space\['(?P<scale>[^']+)'\]|(search\.)?(?P<setting>\w+)")
# The sections that change nothing but a model, its optimizer or the data.
_PARTS = frozenset({"model", "data", "optimizer", "lr_scheduler"})
# What ``fit`` of LightningCLI takes, and a search does not.
_REFUSED = {
    "ckpt_path": "each trial starts anew; a model may load weights when it is made",
    "weights_only": "it is for ckpt_path, and each trial starts anew",
}


@contextmanager
def naming(paths: Sequence[str]) -> Iterator[None]:
    """Puts the file before the message of what is wrong in it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{_blamed(paths, str(error))}: {error}") from None


def load(
    paths: Sequence[str], flags: Mapping[str, Any], lightning: Sequence[str] = (), make: Callable[[], Any] = LightningCLI
) -> dict[str, Any]:
    """Config files, of which later ones overrule earlier ones, with flags laid over them.

    Args:
        paths: the files.
        flags: of the ``search:`` section, and the address of a Ray cluster.
        lightning: flags of LightningCLI, as they are typed.
        make: calls LightningCLI, or a class of the user's that is one.

    Returns:
        The sections, without what is left to defaults.

    Raises:
        ConfigError: a file, one of its section or key names, or a setting is wrong. The message starts with the file.
    """
    files = {path: read_config(Path(path)) for path in paths}
    # What a file says for other subcommands is checked, too.
    cli = unrun(make, {"fit"}.union(*files.values()))
    search: dict[str, Any] = {}
    for path, config in files.items():
        with naming([path]):
            _check_file(config, sections_of(fit_parser(cli)))
            search = _merged(search, config.get("search") or {})
    given = given_by(cli, files, lightning, search.get("space") or {})
    search = {**search, **flags}
    seed = given.pop("seed_everything", None)
    if isinstance(seed, int) and not isinstance(seed, bool):
        search.setdefault("seed", seed)
    with naming(paths):
        for key, why in _REFUSED.items():
            if given.pop(key, None) is not None:
                raise ConfigError(f"section {key!r} cannot be in a search: {why}")
        if "ray_address" in search:
            search["executor"] = _at_address(search.get("executor", "auto"), search.pop("ray_address"))
        _check_settings(search)
    return {**given, "search": search}


def label(paths: Sequence[str]) -> str:
    """How files are named in a message."""
    return ", ".join(paths) or "the arguments"


def _blamed(paths: Sequence[str], message: str) -> str:
    """Of several files, the last that has the setting or the scale which a message is about; all of them where it has none."""
    found = _ABOUT.match(message)
    if found and len(paths) > 1:
        keys = ("search", "space", found["scale"]) if found["scale"] else ("search", found["setting"])
        for path in reversed(paths):
            if given_at(read_config(Path(path)), keys):
                return path
    return label(paths)


def default_root(paths: Sequence[str], ending: str = "") -> str:
    """The folder of a study or fit whose config says none. A study's own config goes on with it, wherever it is now."""
    first = Path(next(iter(paths), "search"))
    if first.name == WRITTEN and (first.parent / STUDY).exists() and not ending:
        return str(first.parent)
    return f"runs/{first.stem}{ending}"


def build(paths: Sequence[str], config: Mapping[str, Any], make: Callable[[], Any] = LightningCLI) -> SearchLoop:
    """The search that a config asks for, checked as far as can be without training.

    Raises:
        ConfigError: something in it is wrong. The message starts with the file.
    """
    with naming(paths):
        return _build(config, make, default_root(paths))


def _check_file(config: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Checks the names in one file."""
    search = config.get("search") or {}
    if not isinstance(search, Mapping):
        raise ConfigError(f"search needs a mapping of settings, got {search!r}")
    for key in search:
        if key not in SETTINGS:
            hint = did_you_mean(str(key), SETTINGS)
            raise ConfigError(f"search.{key} is not a setting{hint}; there are {', '.join(SETTINGS)}")
    sections = [*known, "search"]
    for section in config:
        if section not in sections and section not in LightningCLI.subcommands():
            raise ConfigError(f"section {section!r} is not one of {', '.join(sections)}{did_you_mean(str(section), sections)}")
    check_sections(sections_for_fit(config))


def _merged(search: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file laid over those of earlier ones; scales by their names."""
    merged = {**search, **over}
    spaces = [each["space"] for each in (search, over) if isinstance(each.get("space"), Mapping)]
    return {**merged, "space": {**spaces[0], **spaces[1]}} if len(spaces) == 2 else merged


def babysitter_for(settings: Any) -> Babysitter:
    """The Babysitter of a config.

    Raises:
        ConfigError: a setting is none of Babysitter's arguments, or out of its range.
    """
    given = settings if isinstance(settings, Mapping) else {}
    check_names("search.babysit", given, Babysitter, "Babysitter")
    return Babysitter(**given)


def _check_settings(search: Mapping[str, Any]) -> None:
    """Checks what no class checks under the config's name for it, and what one of the two commands would leave unread."""
    root, seed, babysit = search.get("root", "runs"), search.get("seed", 0), search.get("babysit", False)
    folder("search.root", root)
    whole_number("search.seed", seed, 0)
    for key in ("verbose", "babysit"):
        value = search.get(key, False)
        if not isinstance(value, bool) and not (key == "babysit" and isinstance(value, Mapping)):
            raise ConfigError(f"search.{key} needs true or false, got {value!r}")
    if isinstance(babysit, Mapping):
        babysitter_for(babysit)
    if "space" in search:
        Space(search["space"])


def _build(config: Mapping[str, Any], make: Callable[[], Any], default: str) -> SearchLoop:
    search = dict(config["search"])
    if not search:
        raise ConfigError("section search is missing: it needs monitor, trials and space")
    for key in ("space", "monitor"):
        if key not in search:
            raise ConfigError(f"search.{key} is missing: {SETTINGS[key]}")
    space = Space(search.pop("space"))
    assembly = assembled(config, make)
    located = {name: assembly.locate(name) for name in space}
    sections = {keys[0] for keys in located.values()}
    assembly.complete(space)
    strategy = _strategy(search.pop("strategy", DEFAULT), search.pop("points", None))
    endless = strategy != "grid" and not isinstance(strategy, Grid)
    if endless and search.get("trials") is None and search.get("max_time") is None:
        raise ConfigError("the search has no end: give search.trials, search.max_time or both")
    for key, made in (("babysit", _babysit), ("constraint", _constraint), ("pruner", _pruner), ("executor", _executor)):
        if key in search:
            search[key] = made(search[key])
    _check_given_always(space, assembly, located)
    extremes = corners(space)
    for hparams in extremes:
        assembly.parsed(hparams)
    if reason := _apart(located, assembly.linked):
        checked_fuse(search.get("fuse", "auto"), reason)
        search["fuse"] = "never"
    loop = SearchLoop(
        Made(assembly, "model"),
        space=space,
        data=Made(assembly, "data") if assembly.parsed(extremes[0]).get("data") is not None else None,
        trainer=TrainerArguments(assembly, extremes[0], searched=assembly.hooked or not sections <= _PARTS),
        strategy=strategy,
        root_dir=search.pop("root", default),
        **search,
    )
    loop.config = {**assembly.given, "search": config["search"]}
    return loop


def assembled(config: Mapping[str, Any], make: Callable[[], Any]) -> Assembly:
    """What makes the model, the data and the Trainer's arguments of a config.

    Raises:
        ConfigError: a section is wrong, or there is no model.
    """
    given = {key: value for key, value in config.items() if key != "search"}
    assembly = Assembly(make, given)
    if assembly.cli.subclass_mode_model and not isinstance(assembly.given.get("model"), Mapping):
        found = assembly.given.get("model")
        raise ConfigError(f"model needs a class_path, such as class_path: my_package.MyClass, got {found!r}")
    return assembly


def _check_given_always(space: Space, assembly: Assembly, located: Mapping[str, Keys]) -> None:
    """Raises ConfigError where a class requires what only some trials would give it."""
    for name in space.sometimes:
        keys = located[name]
        section = assembly.given.get(keys[0])
        if len(keys) != 3 or not isinstance(section, Mapping) or "class_path" not in section:
            continue
        _, required, _ = arguments(import_class(keys[0], section["class_path"]))
        if keys[2] in required and not given_at(assembly.given, keys):
            raise ConfigError(
                f"{section['class_path']} requires {keys[2]!r}, which search.space.{name} does not give in every trial: "
                f"give the rest a value under {keys[0]}.init_args"
            )


def _apart(located: Mapping[str, Keys], linked: set[str]) -> str | None:
    """Why trials that differ in a name may not share data and Trainer, if they may not, though its name does not tell so."""
    for name, keys in located.items():
        own = keys[0] not in _PARTS | {"trainer"}
        if own or (keys[0] in linked and keys[0] not in ("data", "trainer")):
            return f"other arguments may depend on search.space.{name}"
    return None


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


def _babysit(settings: Any) -> Any:
    return babysitter_for(settings) if isinstance(settings, Mapping) else settings


def _constraint(path: Any) -> Any:
    """The function that a config names, if it does."""
    if path is None:
        return None
    if not isinstance(path, str):
        raise ConfigError(f"search.constraint needs the path of a function, such as my_module.small_enough, got {path!r}")
    found = import_path("search.constraint", path, "my_module.small_enough")
    if not callable(found):
        raise ConfigError(f"search.constraint {path!r} needs to be a function of hyperparameters, got {found!r}")
    return found


def _pruner(settings: Any) -> AnyPruner | str | None:
    """The pruner of a config: a name, or a mapping of that and its arguments."""
    if isinstance(settings, Mapping):
        pruner: AnyPruner = _named("search.pruner", settings, PRUNERS)
        return pruner
    check_not_optunas("search.pruner", settings)
    return None if settings is None else one_of("search.pruner", settings, PRUNERS)


def _executor(settings: Any) -> RayCluster | str:
    """The executor of a config: a name, or a mapping of that and, for ray, its arguments."""
    if not isinstance(settings, Mapping):
        return one_of("search.executor", settings, EXECUTORS)
    name, others = settings.get("name"), [key for key in settings if key != "name"]
    if name in EXECUTORS and name != "ray":
        if others:
            raise ConfigError(f"search.executor.{others[0]} is for executor ray, got executor {name!r}")
        return str(name)
    try:
        cluster: RayCluster = _named("search.executor", settings, {"ray": RayCluster})
    except ConfigError as error:
        raise ConfigError(str(error).replace("RayCluster: ", "search.executor.", 1)) from None
    return cluster


def _at_address(executor: Any, address: str) -> dict[str, Any]:
    """The executor of a config with the cluster that a flag names."""
    settings = dict(executor) if isinstance(executor, Mapping) else {"name": executor}
    if settings.get("name") != "ray":
        raise ConfigError(f"--ray-address is for executor ray, got executor {settings.get('name')!r}: add --executor ray")
    return {**settings, "address": address}


def _named(key: str, settings: Mapping[str, Any], kinds: Mapping[str, Any]) -> Any:
    """What a mapping of a name and arguments asks for."""
    if "name" not in settings:
        raise ConfigError(f"{key}.name is missing: one of {', '.join(kinds)}")
    kind = kinds[one_of(f"{key}.name", settings["name"], kinds)]
    given = {name: value for name, value in settings.items() if name != "name"}
    check_names(key, given, kind, settings["name"])
    return kind(**given)
