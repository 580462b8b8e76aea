"""The model, data and trainer sections of a config, made by jsonargparse as LightningCLI makes them."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser

from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.fit.signature import arguments

_BASES: dict[str, type[LightningModule] | type[LightningDataModule]] = {"model": LightningModule, "data": LightningDataModule}
# Trainer arguments that are objects: each trial needs its own.
_OBJECTS = ("callbacks", "logger", "plugins", "profiler", "strategy")
# What jsonargparse says around the line that helps: the other types of a union, and values too long for a line.
_NOISE = re.compile(
    r"Does not validate against .*|Subtypes: .*|Errors:|Expected a <class 'NoneType'>.*|Given value type: .*|"
    r"Given value: [\[{].*|Not a valid subclass of .*|Subclass types expect .*|a class path \(str\)|a dict with.*"
)
_SHORTER = {r'Parser key "([^"]+)"': r"\1", r"<class '(?:\w+\.)*(\w+)'>": r"\1", r"(: Given|\. Got) value: ": ", got "}


class SectionFactory:
    """Makes the object of a ``class_path`` section, as often as asked, with other arguments each time.

    Args:
        key: ``model`` or ``data``.
        section: with class_path and, as a rule, init_args.

    Raises:
        ConfigError: the class cannot be imported, or is of the wrong kind.
    """

    def __init__(self, key: str, section: Any) -> None:
        if not isinstance(section, Mapping) or not isinstance(section.get("class_path"), str):
            raise ConfigError(f"{key} needs a class_path, such as class_path: my_package.MyClass, got {section!r}")
        self.key = key
        self.class_path: str = section["class_path"]
        self.init_args = dict(section.get("init_args") or {})
        self.__qualname__ = self.class_path
        made = _import(key, self.class_path)
        _check_names(f"{key}.init_args", self.init_args, made, self.class_path)
        self.__signature__ = _signature(made, self.init_args)
        self._rest = {name: value for name, value in section.items() if name != "init_args"}
        self._parser = LightningArgumentParser(exit_on_error=False)
        self._parser.add_lightning_class_args(_BASES[key], key, subclass_mode=True)

    def __call__(self, **hparams: Any) -> Any:
        return _instantiate(self._parser, self.check(hparams))[self.key]

    def check(self, hparams: Mapping[str, Any]) -> Any:
        """Parses the section with these arguments, making nothing.

        Raises:
            ConfigError: jsonargparse refuses a name or a type.
        """
        return _parse(self._parser, {self.key: {**self._rest, "init_args": {**self.init_args, **hparams}}})


class TrainerSection:
    """The trainer section: plain arguments as they stand, objects as functions that make one.

    Raises:
        ConfigError: the section is no mapping, or Trainer does not take what it says.
    """

    def __init__(self, section: Any) -> None:
        if section is not None and not isinstance(section, Mapping):
            raise ConfigError(f"trainer needs a mapping of Trainer arguments, such as max_epochs: 10, got {section!r}")
        self.section = dict(section or {})
        _check_names("trainer", self.section, Trainer, "Trainer")
        self._parser = LightningArgumentParser(exit_on_error=False)
        self._parser.add_lightning_class_args(Trainer, "trainer")
        self.check({})

    def check(self, hparams: Mapping[str, Any]) -> None:
        """Parses the section with these arguments, making nothing."""
        _parse(self._parser, {"trainer": {**self.section, **hparams}})

    def arguments(self) -> dict[str, Any]:
        """What `SearchLoop` takes as ``trainer``."""
        return {key: self._argument(key, value) for key, value in self.section.items()}

    def _argument(self, key: str, value: Any) -> Any:
        if key not in _OBJECTS:
            return value
        if isinstance(value, list):
            return [partial(self._make, key, [item]) for item in value]
        return partial(self._make, key, value) if isinstance(value, Mapping) else value

    def _make(self, key: str, value: Any) -> Any:
        made = _instantiate(self._parser, _parse(self._parser, {"trainer": {key: value}}))["trainer"][key]
        return made[0] if isinstance(value, list) else made


def _import(key: str, class_path: str) -> Any:
    module, dot, name = class_path.rpartition(".")
    if not dot:
        raise ConfigError(f"{key}.class_path needs a dotted path, such as my_package.MyClass, got {class_path!r}")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}.class_path {class_path!r} cannot be imported: {error}") from None
    if not (inspect.isclass(found) and issubclass(found, _BASES[key])):
        raise ConfigError(f"{key}.class_path {class_path!r} needs to be a {_BASES[key].__name__} class")
    return found


def _check_names(where: str, given: Mapping[str, Any], made: Any, name: str) -> None:
    known, _, open_ended = arguments(made)
    for argument in given:
        if argument not in known and not open_ended:
            raise ConfigError(f"{where}.{argument} is not an argument of {name}{did_you_mean(str(argument), known)}")


def _signature(made: Any, given: Mapping[str, Any]) -> inspect.Signature:
    """A class's signature with the arguments that the config gives turned into defaults."""
    signature = inspect.signature(made)
    parameters = [
        each.replace(kind=each.KEYWORD_ONLY, default=given.get(each.name, each.default))
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        else each
        for each in signature.parameters.values()
        if each.kind is not each.VAR_POSITIONAL
    ]
    return signature.replace(parameters=parameters)


def _parse(parser: LightningArgumentParser, values: dict[str, Any]) -> Any:
    try:
        return parser.parse_object(values)
    except (argparse.ArgumentError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(_helpful(str(error))) from None


def _instantiate(parser: LightningArgumentParser, parsed: Any) -> Any:
    # Renamed in jsonargparse 4.49.
    make = getattr(parser, "instantiate", None) or parser.instantiate_classes
    try:
        return make(parsed)
    except ValueError as error:
        # What the user's class raises comes wrapped in what jsonargparse says of the types that it tried.
        raise error.__cause__ or error from None


def _helpful(message: str) -> str:
    """jsonargparse's message without the lines that surround what is wrong.

    >>> _helpful("Parser key \\"model\\":\\n  Subtypes: [x]\\n  Errors:\\n    - Option 'hiden' is not accepted")
    "model: Option 'hiden' is not accepted"
    """
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    told = ": ".join(line.rstrip(":") for line in lines if line and not _NOISE.fullmatch(line))
    for pattern, short in _SHORTER.items():
        told = re.sub(pattern, short, told)
    return told
