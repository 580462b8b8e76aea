"""A LightningCLI of the user's that has made its parser and runs nothing: what parses a config, and makes what it asks for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lightning_hp.cli.messages import helpful
from lightning_hp.description import name_of
from lightning_hp.errors import ConfigError

# What a LightningCLI makes and runs by itself, and a trial does not: each has its own Trainer, and its own fit.
_NOT_CALLED = ("instantiate_classes", "instantiate_trainer", "_instantiate_trainer", "fit", "_run_subcommand")

# What its parser has besides the sections of a config.
_NO_SECTIONS = frozenset({"help", "config", "search", "print_config", "print_shtab"})


def unrun(make: Callable[[], Any], subcommands: Container[str] = ("fit",)) -> LightningCLI:
    """What a function makes a LightningCLI of, as it stands before it parses its arguments.

    Args:
        make: calls LightningCLI, or a subclass of it. It does not come back from that call.
        subcommands: whose sections its parser is to take. Other names among them do no harm.

    Raises:
        ConfigError: it makes no LightningCLI, or one that does things which do not happen in a search.
    """
    with _bare_but(subcommands), _stopped_before_parsing():
        try:
            make()
        except _Made as made:
            cli = made.cli
        else:
            raise ConfigError(f"{name_of(make)} makes no LightningCLI: search needs one, such as search(LightningCLI, MyModel)")
    _check(cli)
    cli.subcommand = "fit" if hasattr(cli, "_subcommand_parsers") else None
    for parser in {id(each): each for each in (cli.parser, fit_parser(cli))}.values():
        parser.exit_on_error = False
        # LightningCLI has no such section. It is read by itself.
        parser.add_argument("--search", type=Any)
    return cli


def fit_parser(cli: LightningCLI) -> LightningArgumentParser:
    """The parser of what ``fit`` takes."""
    parser: LightningArgumentParser = cli._parser(cli.subcommand)
    return parser


def of_fit(cli: LightningCLI, parsed: Namespace) -> Namespace:
    """What was parsed for ``fit``."""
    section: Namespace = parsed if cli.subcommand is None else parsed[cli.subcommand]
    return section


def sections_of(parser: LightningArgumentParser) -> dict[str, list[str]]:
    """The top-level keys of a config, and the arguments of those that stand for one class."""
    found: dict[str, list[str]] = {}
    for action in parser._actions:
        section, _, argument = action.dest.partition(".")
        if section not in _NO_SECTIONS and argument != "help":
            found.setdefault(section, []).extend([argument] if argument else [])
    return found


def says_all(cli: LightningCLI) -> bool:
    """Whether what a config says can be parsed without defaults: on those of its own, other arguments of a CLI may depend."""
    return type(cli) is LightningCLI and cli.subclass_mode_model and cli.subclass_mode_data


def plain(parser: LightningArgumentParser, parsed: Namespace, without_defaults: bool = False) -> dict[str, Any]:
    """What was parsed as the plain values of a config."""
    # What is null was given, too.
    with_none = {"skip_unset": False} if _renamed(parser) else {"skip_none": False}
    text = parser.dump(parsed, format="yaml", skip_validation=True, skip_default=without_defaults, **with_none)
    return {key: value for key, value in (yaml.safe_load(text) or {}).items() if key not in _NO_SECTIONS}


def instantiated(parser: LightningArgumentParser, parsed: Namespace, groups: bool, own: list[tuple[Any, type, bool]]) -> Any:
    """What was parsed, with objects in the place of what says how they are made.

    Args:
        parser: which has parsed it.
        parsed: all of it, or a part.
        groups: also make what classes that the parser names itself are to be.
        own: functions that make objects, each with the class, and whether its subclasses too.
    """
    if _renamed(parser):
        return parser.instantiate(parsed, instantiate_groups=groups, instantiators=own)
    for each in own:
        parser.add_instantiator(*each)
    return parser.instantiate_classes(parsed, instantiate_groups=groups)


def _renamed(parser: LightningArgumentParser) -> bool:
    """Whether jsonargparse has the names of 4.49."""
    return hasattr(parser, "instantiate")


@contextmanager
def told() -> Iterator[None]:
    """Raises what a parser says as a ConfigError, in one line."""
    try:
        yield
    except (argparse.ArgumentError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(helpful(str(error))) from None


class _Made(BaseException):
    """Carries a LightningCLI out of its own making. No error, so that nobody catches it."""

    def __init__(self, cli: LightningCLI) -> None:
        self.cli = cli


@contextmanager
def _stopped_before_parsing() -> Iterator[None]:
    kind: Any = LightningCLI
    parse = kind.parse_arguments

    def stop(cli: LightningCLI, parser: LightningArgumentParser, args: Any) -> NoReturn:
        raise _Made(cli)

    kind.parse_arguments = stop
    try:
        yield
    finally:
        kind.parse_arguments = parse


@contextmanager
def _bare_but(subcommands: Container[str]) -> Iterator[None]:
    """Leaves the parsers of other subcommands without arguments: to find all of Trainer's for each of them takes a while."""
    kind: Any = LightningCLI
    prepare = kind._prepare_subcommand_parser

    def prepared(cli: Any, trainer_class: type, subcommand: str, **settings: Any) -> Any:
        return prepare(cli, trainer_class, subcommand, **settings) if subcommand in subcommands else cli.init_parser(**settings)

    kind._prepare_subcommand_parser = prepared
    try:
        yield
    finally:
        kind._prepare_subcommand_parser = prepare


def _check(cli: LightningCLI) -> None:
    name = type(cli).__qualname__
    for method in _NOT_CALLED:
        if getattr(type(cli), method, None) is not getattr(LightningCLI, method, None):
            raise ConfigError(
                f"{name}.{method} is of its own, and is not called in a search, whose trials make and fit by themselves: move "
                "what it does to a callback, or to before_fit or after_fit"
            )
    if cli.trainer_class is not Trainer:
        raise ConfigError(
            f"{name} has trainer_class={name_of(cli.trainer_class)}, but the trials of a search train with "
            "lightning.pytorch.Trainer: leave it out, and give what it sets as trainer_defaults"
        )
