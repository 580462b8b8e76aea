"""The model, data and trainer sections of a config, made by jsonargparse as LightningCLI makes them."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser

from lightning_hp.cli.classes import check_keys, check_names, import_class
from lightning_hp.cli.messages import helpful
from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.fit.signature import arguments

_BASES: dict[str, type[LightningModule] | type[LightningDataModule]] = {"model": LightningModule, "data": LightningDataModule}
# Trainer arguments that are objects: each trial needs its own. Text names a class in the first two, and in the others
# one of Lightning's own.
_OBJECTS = ("callbacks", "logger", "plugins", "profiler", "strategy")
_CLASSES = _OBJECTS[:2]


class SectionFactory:
    """Makes the object of a ``class_path`` section, as often as asked, with other arguments each time.

    Args:
        key: ``model`` or ``data``.
        section: with class_path and, as a rule, init_args.

    Raises:
        ConfigError: the class cannot be imported, or is of the wrong kind, or takes no such arguments.
    """

    def __init__(self, key: str, section: Any) -> None:
        if not isinstance(section, Mapping) or not isinstance(section.get("class_path"), str):
            raise ConfigError(f"{key} needs a class_path, such as class_path: my_package.MyClass, got {section!r}")
        self.key = key
        self.class_path: str = section["class_path"]
        self.__qualname__ = self.class_path
        made = import_class(key, self.class_path)
        if not (inspect.isclass(made) and issubclass(made, _BASES[key])):
            raise ConfigError(f"{key}.class_path {self.class_path!r} needs to be a {_BASES[key].__name__} class")
        self.names, self.open_ended = _names(made)
        check_keys(key, section, self.names)
        self.init_args = dict(section.get("init_args") or {})
        self.dict_kwargs = dict(section.get("dict_kwargs") or {})
        self._check_names()
        self.__signature__ = _signature(made, self.init_args)
        self._parser = _Parser(lambda parser: parser.add_lightning_class_args(_BASES[key], key, subclass_mode=True))

    def describe(self) -> Any:
        """As a class, or a partial of it with these arguments, is described in Python: it is the same search."""
        name = self.class_path.rpartition(".")[2]
        given = {**self.init_args, **self.dict_kwargs}
        return {name: given} if given else name

    def __call__(self, **hparams: Any) -> Any:
        return _instantiate(self._parser, self.check(hparams))[self.key]

    def check(self, hparams: Mapping[str, Any]) -> Any:
        """Parses the section with these arguments, making nothing.

        Raises:
            ConfigError: jsonargparse refuses a name or a type.
        """
        # What a class takes by **kwargs only, jsonargparse wants apart from what it can check.
        named = {name: value for name, value in hparams.items() if name in self.names}
        others = {name: value for name, value in hparams.items() if name not in self.names}
        section = {"class_path": self.class_path, "init_args": {**self.init_args, **named}}
        if others or self.dict_kwargs:
            section["dict_kwargs"] = {**self.dict_kwargs, **others}
        return _parse(self._parser, {self.key: section})

    def _check_names(self) -> None:
        for argument in self.init_args:
            if argument not in self.names:
                way_out = f"; for its **kwargs use {self.key}.dict_kwargs" if self.open_ended else ""
                hint = did_you_mean(str(argument), self.names)
                raise ConfigError(f"{self.key}.init_args.{argument} is not an argument of {self.class_path}{hint}{way_out}")
        if self.dict_kwargs and not self.open_ended:
            name = next(iter(self.dict_kwargs))
            raise ConfigError(
                f"{self.key}.dict_kwargs.{name}: {self.class_path} takes no **kwargs: write it under {self.key}.init_args"
            )


class TrainerSection:
    """The trainer section: plain arguments as they stand, objects as functions that make one.

    Raises:
        ConfigError: the section is no mapping, or Trainer does not take what it says.
    """

    def __init__(self, section: Any) -> None:
        if section is not None and not isinstance(section, Mapping):
            raise ConfigError(f"trainer needs a mapping of Trainer arguments, such as max_epochs: 10, got {section!r}")
        self.section = dict(section or {})
        check_names("trainer", self.section, Trainer, "Trainer")
        for key, value in self.section.items():
            if key in _OBJECTS:
                _check_objects(key, value)
        self._parser = _Parser(lambda parser: parser.add_lightning_class_args(Trainer, "trainer"))
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
            return [_TrainerObject(self._parser, key, item, several=True) for item in value]
        named = isinstance(value, str) and key in _CLASSES
        return _TrainerObject(self._parser, key, value) if named or isinstance(value, Mapping) else value


@dataclass(frozen=True)
class _TrainerObject:
    """Makes an object of the trainer section, such as a callback, as often as asked."""

    parser: _Parser
    key: str
    section: Any
    several: bool = False

    def __call__(self) -> Any:
        values = {"trainer": {self.key: [self.section] if self.several else self.section}}
        made = _instantiate(self.parser, _parse(self.parser, values))["trainer"][self.key]
        return made[0] if self.several else made

    def describe(self) -> Any:
        return self.section


class _Parser:
    """A parser that can be sent to a worker process: it is made where it is used, the first time it is."""

    def __init__(self, fill: Callable[[LightningArgumentParser], Any]) -> None:
        self._fill = fill
        self._made: LightningArgumentParser | None = None

    def __call__(self) -> LightningArgumentParser:
        if self._made is None:
            self._made = LightningArgumentParser(exit_on_error=False)
            self._fill(self._made)
        return self._made

    def __getstate__(self) -> dict[str, Any]:
        return {"_fill": self._fill, "_made": None}


def _names(made: Any) -> tuple[set[str], bool]:
    """The names of a class's arguments, those that its **kwargs pass on included, and whether it takes any other."""
    named, _, open_ended = arguments(made)
    if not open_ended:
        return named, False
    added = ArgumentParser().add_class_arguments(made, fail_untyped=False, skip=named)
    return named | {name.partition(".")[0] for name in added}, True


def _check_objects(key: str, value: Any) -> None:
    several = isinstance(value, list)
    for index, item in enumerate(value if several else [value]):
        where = f"trainer.{key}[{index}]" if several else f"trainer.{key}"
        if isinstance(item, Mapping) and isinstance(item.get("class_path"), str):
            # Lightning's own classes may be named without their module.
            made = import_class(where, item["class_path"]) if "." in item["class_path"] else None
            check_keys(where, item, arguments(made)[0] if inspect.isclass(made) else ())
            if inspect.isclass(made):
                check_names(f"{where}.init_args", item.get("init_args") or {}, made, item["class_path"])
        elif isinstance(item, Mapping) or (several and not isinstance(item, str)):
            raise ConfigError(f"{where} needs a class_path, such as class_path: my_package.MyClass, got {item!r}")


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


def _parse(parser: _Parser, values: dict[str, Any]) -> Any:
    try:
        return parser().parse_object(values)
    except (argparse.ArgumentError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(helpful(str(error))) from None


def _instantiate(parser: _Parser, parsed: Any) -> Any:
    # Renamed in jsonargparse 4.49.
    make = getattr(parser(), "instantiate", None) or parser().instantiate_classes
    try:
        return make(parsed)
    except ValueError as error:
        # What the user's class raises comes wrapped in what jsonargparse says of the types that it tried.
        raise error.__cause__ or error from None
