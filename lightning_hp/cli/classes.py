"""The classes that a config names by ``class_path``, and whether what stands beside the name fits."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from types import ModuleType
from typing import Any

from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.signature import arguments

KEYS = ("class_path", "init_args", "dict_kwargs")


def check_keys(where: str, section: Mapping[str, Any], names: Collection[str] = ()) -> None:
    """Checks the keys of a ``class_path`` section.

    Args:
        where: the section's place in the config, for the message.
        section: the section.
        names: what the class takes.

    Raises:
        ConfigError: a key is none of LightningCLI's, or holds no mapping of arguments.
    """
    for key in section:
        if key in KEYS:
            continue
        hint = f": write it under {where}.init_args" if key in names else did_you_mean(str(key), KEYS)
        raise ConfigError(f"{where}.{key} is not one of {', '.join(KEYS)}{hint}")
    for key in KEYS[1:]:
        if not isinstance(section.get(key, {}), Mapping):
            hint = ": leave it out where it has none" if section[key] is None else ""
            raise ConfigError(f"{where}.{key} needs a mapping of arguments by name, got {section[key]!r}{hint}")


def check_names(where: str, given: Iterable[Any], made: Any, name: str) -> None:
    """Checks that a class takes arguments of these names.

    Raises:
        ConfigError: there is no such argument, and no **kwargs either.
    """
    known, _, open_ended = arguments(made)
    for argument in given:
        if argument not in known and not open_ended:
            raise ConfigError(f"{where}.{argument} is not an argument of {name}{did_you_mean(str(argument), known)}")


def import_class(where: str, class_path: str) -> Any:
    """What a class path names; a class may stand inside another class.

    Raises:
        ConfigError: there is no such thing, or the import of its module fails. The message says how, and in which line.
    """
    return import_path(f"{where}.class_path", class_path, "my_package.MyClass")


def import_path(where: str, path: str, example: str) -> Any:
    """What a dotted path names.

    Args:
        where: the key that holds it, for the message.
        path: of a module and what stands in it.
        example: of such a path.

    Raises:
        ConfigError: as in `import_class`.
    """
    names = path.split(".")
    if len(names) < 2 or not all(name.isidentifier() for name in names):
        raise ConfigError(f"{where} needs a dotted path, such as {example}, got {path!r}")
    try:
        module, rest = _import_longest(names)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{where} {path!r} cannot be imported: {_told(error)}") from None
    try:
        return reduce(getattr, rest, module)
    except AttributeError as error:
        hint = did_you_mean(names[-1], vars(module))
        raise ConfigError(f"{where} {path!r} cannot be imported: {error}{hint}") from None


def _import_longest(names: list[str]) -> tuple[ModuleType, list[str]]:
    """The module that most of the names make up, and the names left over."""
    for count in range(len(names) - 1, 0, -1):
        name = ".".join(names[:count])
        try:
            return importlib.import_module(name), names[count:]
        except ModuleNotFoundError as error:
            # A module that imports a missing one is another matter than a missing module.
            missing = error.name or ""
            if count == 1 or not f"{name}.".startswith(f"{missing}."):
                raise
    raise AssertionError("a dotted path has at least two names")


def _told(error: BaseException) -> str:
    told = f"{type(error).__name__}: {error}" if not isinstance(error, ImportError) else str(error)
    if isinstance(error, SyntaxError):
        return told
    own = (__file__, importlib.__file__)
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith("<") and frame.filename not in own]
    return f"{told} ({users[-1].filename}, line {users[-1].lineno})" if users else told
