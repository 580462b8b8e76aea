"""Whether a call will be accepted, judged by the signature before anything is called."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from lightning_hp.description import name_of
from lightning_hp.errors import ConfigError, did_you_mean

# Trainer's forty would hide the message.
MOST_LISTED = 20
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def signature(function: Callable[..., Any]) -> inspect.Signature:
    """A callable's signature, whose annotations are not for use.

    From Python 3.14 on, one may name what only type checkers import, and would raise when it is evaluated.

    Raises:
        TypeError, ValueError: it has none, as ``inspect.signature`` says.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.STRING)
    return inspect.signature(function)


def arguments(function: Callable[..., Any]) -> tuple[set[str], set[str], bool]:
    """The names that a callable takes by keyword, those of them it requires, and whether it takes any other.

    >>> arguments(lambda lr, momentum=0.9: None) == ({"lr", "momentum"}, {"lr"}, False)
    True
    """
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return set(), set(), True
    named = {each.name for each in parameters if each.kind in _NAMED}
    required = {each.name for each in parameters if each.kind in _NAMED and each.default is each.empty}
    return named, required, any(each.kind is each.VAR_KEYWORD for each in parameters)


def check_call(
    function: Callable[..., Any], names: Mapping[str, str], sometimes: Collection[str] = (), elsewhere: Iterable[str] = ()
) -> None:
    """Checks that a callable accepts some arguments and requires no others.

    Args:
        function: the factory.
        names: argument name to the name in the space, for the message.
        sometimes: those names in the space that are not in every trial, so that their arguments may not be required.
        elsewhere: names in a space that would go to another callable, for the hint of an error.

    Raises:
        ConfigError: naming the unknown or missing argument and what the callable takes.
    """
    _check_fixed(function)
    known, required, open_ended = arguments(function)
    what = name_of(function)
    for argument, full_name in names.items():
        if argument not in known and not open_ended:
            hint = did_you_mean(argument, known) or did_you_mean(argument, elsewhere)
            raise ConfigError(f"space[{full_name!r}]: {what} has no argument {argument!r}{hint}{it_takes(known)}")
    for argument in sorted(required & names.keys()):
        if names[argument] in sometimes:
            raise ConfigError(
                f"{what} requires {argument!r}, which space[{names[argument]!r}] does not give in every trial: let it have a "
                "default"
            )
    missing = sorted(required - names.keys())
    if missing:
        raise ConfigError(
            f"{what} requires {', '.join(map(repr, missing))}, which the space does not give: add a scale for it, or fix it "
            f"with functools.partial({what}, {missing[0]}=...)"
        )


def _check_fixed(function: Callable[..., Any]) -> None:
    """Raises ConfigError where functools.partial has fixed an argument that there is not."""
    if not isinstance(function, partial):
        return
    known, _, open_ended = arguments(function.func)
    for argument in function.keywords if not open_ended else ():
        if argument not in known:
            hint = did_you_mean(argument, known)
            what = name_of(function.func)
            raise ConfigError(
                f"functools.partial({what}, {argument}=...): {what} has no argument {argument!r}{hint}{it_takes(known)}"
            )


def it_takes(known: Collection[str]) -> str:
    """What a callable takes, to stand behind a message; nothing where that is too much."""
    if len(known) > MOST_LISTED:
        return ""
    return f"; it takes {', '.join(sorted(known)) or 'no arguments'}"
