"""Config files and flags of LightningCLI, read by its own parser as ``fit`` reads them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from lightning.pytorch.cli import LightningCLI

from lightning_hp.cli.classes import import_class
from lightning_hp.cli.names import Config, drop, given_at, in_section, locate, names_of_class
from lightning_hp.cli.unrun import fit_parser, of_fit, plain, says_all, sections_of, told
from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.space import Hparams, Space

# What jsonargparse says of a flag; in files it is seen before.
_UNACCEPTED = re.compile(r"(\w+): ([\w.]+): Option '(\w+)' is not accepted$")
_REQUIRED = re.compile(r"the following arguments are required: (?:fit\.)?(.*)")


def given_by(cli: LightningCLI, files: Mapping[str, Config], flags: Sequence[str], space: Any) -> Config:
    """What files and flags say, later ones laid over earlier ones, without what is left to defaults.

    Args:
        cli: has made its parser.
        files: by path, each as it stands.
        flags: as they are typed.
        space: of the search, which may give what a class requires.

    Raises:
        ConfigError: the parser refuses something. The message names the file.
    """
    try:
        return _parsed(cli, files, flags)
    except ConfigError as error:
        missing = _REQUIRED.search(str(error))
        if missing is None or missing[1] == "model" or not space:
            raise _located(cli, files, flags, error) from None
    # What the trials give is required, too: any value will do, and goes again.
    try:
        values = corners(Space(space))[0]
        sections = sections_of(fit_parser(cli))
        said = {key: value for config in files.values() for key, value in sections_for_fit(config).items()}
        names = {name: name if in_section(name, said, sections) else f"model.{name}" for name in values}
        given = _parsed(cli, files, [*flags, *(f"--{names[name]}={_typed(value)}" for name, value in values.items())])
    except ConfigError as error:
        raise _located(cli, files, flags, error) from None
    for name in values:
        keys = locate(name, given, {}, sections)
        if not any(given_at(sections_for_fit(config), keys) for config in files.values()):
            drop(given, keys)
    return given


def corners(space: Space) -> list[Hparams]:
    """Hyperparameters that hold, between them, both ends of every scale and every choice: what a type check must accept."""
    values = {name: each.scale.grid(2) for name, each in space.layout.items()}
    for name, each in space.layout.items():
        if each.counter is not None:
            values[name] = [[value] for value in values[name]]
    most = max(len(each) for each in values.values())
    return [{name: values[name][index % len(values[name])] for name in space} for index in range(most)]


def sections_for_fit(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a file has for ``fit``: its sections, unless it says these for each subcommand.

    Raises:
        ConfigError: what it says for ``fit`` is no mapping.
    """
    if not any(command in config for command in LightningCLI.subcommands()):
        return config
    sections = config.get("fit", {})
    if not isinstance(sections, Mapping):
        raise ConfigError(f"fit needs a mapping of sections, such as model and trainer, got {sections!r}")
    return sections


def _parsed(cli: LightningCLI, files: Mapping[str, Config], flags: Sequence[str]) -> Config:
    # Files that say what each subcommand gets stand before it.
    by_command = [path for path, config in files.items() if sections_for_fit(config) is not config]
    before = [argument for path in by_command for argument in ("--config", path)]
    after = [argument for path in files if path not in by_command for argument in ("--config", path)]
    command = [] if cli.subcommand is None else [cli.subcommand]
    with told():
        parsed = cli.parser.parse_args([*before, *command, *after, *flags], defaults=not says_all(cli))
    return plain(fit_parser(cli), of_fit(cli, parsed), without_defaults=not says_all(cli))


def _classless(cli: LightningCLI, files: Mapping[str, Config], flags: Sequence[str], message: str) -> str | None:
    """What to do where a section has arguments of a class that is named nowhere: in a script of the user's, as it seems."""
    for key, open_to_any in (("model", cli.subclass_mode_model), ("data", cli.subclass_mode_data)):
        sections = [sections_for_fit(config).get(key) for config in files.values()]
        given = [argument for section in sections if isinstance(section, Mapping) for argument in section]
        named = any(isinstance(section, str) for section in sections) or "class_path" in given
        flagged = any(re.match(rf"--{key}(\.class_path)?(=|$)", flag) for flag in flags)
        if open_to_any and given and not named and not flagged and message.startswith(f"{key}:"):
            return (
                f"{key} has {', '.join(map(str, given))}, but no class_path: add class_path: my_package.MyClass and write them "
                "under init_args, or search with the script whose LightningCLI names the classes, by "
                "lightning_hp.cli.search(MyCLI, MyModel, MyData)"
            )
    return None


def _did_you_mean(argument: str, class_path: str) -> str:
    with suppress(ConfigError):
        made = import_class("model", class_path)
        return did_you_mean(argument, names_of_class(made)[0]) if inspect.isclass(made) else ""
    return ""


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _refusal(cli: LightningCLI, files: Mapping[str, Config]) -> str | None:
    try:
        _parsed(cli, files, ())
    except ConfigError as error:
        return str(error)
    return None


def _located(cli: LightningCLI, files: Mapping[str, Config], flags: Sequence[str], error: ConfigError) -> ConfigError:
    """An error with the file that brings it, and what to do."""
    message = str(error)
    where = " ".join(flags) or ", ".join(files) or "the arguments"
    for count, path in enumerate(files, start=1):
        if _refusal(cli, dict(list(files.items())[:count])) == message:
            where = path
            break
    if problem := _classless(cli, files, flags, message):
        return ConfigError(f"{where}: {problem}")
    unaccepted = _UNACCEPTED.match(message)
    if unaccepted:
        key, class_path, argument = unaccepted.groups()
        message = f"{key}.init_args.{argument} is not an argument of {class_path}{_did_you_mean(argument, class_path)}"
    unknown = re.search(r"(\w+)\.(\w+) is not an argument$", message)
    if unknown:
        message += did_you_mean(unknown[2], sections_of(fit_parser(cli)).get(unknown[1], ()))
    missing = _REQUIRED.search(message)
    if missing and missing[1] == "model":
        message = "model needs a class_path, such as class_path: my_package.MyClass, got None"
    elif missing:
        message = f"{message.replace('fit.', '')}: give it in the config, or a scale for it under search.space"
    return ConfigError(f"{where}: {message}")
