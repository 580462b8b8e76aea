"""Trials' configs, parsed: those that differ in numbers alone share what is the same in them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningCLI

from lightning_hp.bounds import is_number
from lightning_hp.cli.names import Config, Keys
from lightning_hp.cli.unrun import fit_parser, says_all, told
from lightning_hp.space import Hparams

# Of so many kinds of trials the parser's work is kept.
MOST_KINDS = 256


class Parsing:
    """Parses the configs of trials with a CLI's parser, which takes most of its time for defaults.

    Numbers change none of these. So of trials that have all else in common only the first is parsed with them.
    """

    def __init__(self) -> None:
        self._first: dict[str, Namespace] = {}

    def parse(self, cli: LightningCLI, config: Config, hparams: Hparams, located: Mapping[str, Keys]) -> Namespace:
        """A trial's config with all defaults.

        Args:
            cli: has made its parser.
            config: has the trial's hyperparameters in it.
            hparams: these.
            located: where each of them stands.

        Raises:
            ConfigError: the parser refuses a name or a value.
        """
        kind = repr({name: _form(value) for name, value in hparams.items()})
        parser = fit_parser(cli)
        with told():
            if kind in self._first:
                changed = parser.parse_object(config, defaults=False)
                like = copy.deepcopy(self._first[kind])
                for name, value in hparams.items():
                    if _numbers(value):
                        _copy(changed, like, located[name])
                return like
            parsed: Namespace = parser.parse_object(config)
        if says_all(cli) and len(self._first) < MOST_KINDS:
            self._first[kind] = copy.deepcopy(parsed)
        return parsed


def _form(value: Any) -> Any:
    """A hyperparameter, or of numbers how many they are."""
    return (len(value) if isinstance(value, list) else "number") if _numbers(value) else [value]


def _numbers(value: Any) -> bool:
    """Whether a hyperparameter is a number, or a list of numbers."""
    if isinstance(value, list):
        return all(map(_numbers, value))
    return is_number(value)


def _copy(source: Namespace, to: Namespace, keys: Keys) -> None:
    first, rest = keys[0], keys[1:]
    if rest and isinstance(source[first], Namespace):
        _copy(source[first], to[first], rest)
    else:
        to[first] = source[first]
