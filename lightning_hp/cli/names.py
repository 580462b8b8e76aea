"""Dotted names, as LightningCLI has them for its flags, in a config: ``model.lr`` of a class is ``model.init_args.lr``."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from jsonargparse import ArgumentParser

from lightning_hp.cli.classes import KEYS, import_class
from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.signature import arguments, it_takes

Config = dict[str, Any]
Keys = tuple[str, ...]

# What the config of any search may have, wherever it was begun.
_USUAL = frozenset({"model", "data", "trainer"})
# What any LightningCLI knows: a model may well have an argument called so, and a search in Python means that.
_STANDARD = _USUAL | {"optimizer", "lr_scheduler", "ckpt_path", "weights_only", "seed_everything"}


def locate(
    name: str,
    config: Mapping[str, Any],
    defaults: Mapping[str, Any],
    sections: Mapping[str, Collection[str]],
    ask: bool = True,
) -> Keys:
    """Where a name stands in a config.

    Args:
        name: with or without ``model.``, ``init_args`` and the like.
        config: what is given.
        defaults: what is not.
        sections: the config's top-level keys, and what each takes where it names no class.
        ask: see whether classes and sections take it.

    Returns:
        The keys that lead there.

    Raises:
        ConfigError: what it names is no argument of the class, or of the section.

    >>> locate("model.depth", {"model": {"depth": 3}}, {}, {"model": ["depth"]})
    ('model', 'depth')
    >>> locate("optimizer.lr", {"optimizer": {"class_path": "torch.optim.SGD"}}, {}, {"optimizer": [], "model": []})
    ('optimizer', 'init_args', 'lr')
    """
    first, *rest = name.split(".")
    own = in_section(name, config, sections)
    found: Keys = (first,) if own else ("model",)
    remaining = rest if own else [first, *rest]
    if not remaining:
        return found
    while remaining:
        node = _at(config, found) if _at(config, found) is not None else _at(defaults, found)
        key, *remaining = remaining
        if isinstance(node, Mapping) and isinstance(node.get("class_path"), str):
            if key in KEYS and remaining:
                key, *remaining = remaining
            found = (*found, _kind(name, key, node["class_path"]) if ask else "init_args", key)
            continue
        if len(found) == 1 and ask:
            _check_known(name, found[0], key, node, sections[found[0]])
        found = (*found, key)
    return found


def in_section(name: str, config: Mapping[str, Any], sections: Mapping[str, Collection[str]]) -> bool:
    """Whether the first word of a name is that of a section, and not of an argument of the model's.

    A name alone that is both, such as the ``optimizer`` of a search in Python, is the argument's, unless the config has that
    section. ``model.optimizer`` is the argument in any case.

    >>> in_section("optimizer", {}, {"model": ["optimizer"], "optimizer": []})
    False
    """
    first, dot, _ = name.partition(".")
    if first not in sections or dot or first not in _STANDARD or (first in config and first not in _USUAL):
        return first in sections
    return not _model_takes(first, config.get("model"), sections)


def put_all(config: Config, values: Iterable[tuple[Keys, Any]], defaults: Mapping[str, Any]) -> None:
    """Sets what keys lead to: classes before their arguments, in whatever order they come."""
    for keys, value in sorted(values, key=lambda each: len(each[0])):
        put(config, keys, copy.deepcopy(value), defaults)


def put(config: Config, keys: Keys, value: Any, defaults: Mapping[str, Any]) -> None:
    """Sets what keys lead to. A class on the way that the config leaves to its default comes with it.

    >>> config = {"optimizer": "torch.optim.SGD"}
    >>> put(config, ("optimizer", "init_args", "lr"), 0.1, {})
    >>> config
    {'optimizer': {'class_path': 'torch.optim.SGD', 'init_args': {'lr': 0.1}}}
    """
    node: Any = config
    for depth, key in enumerate(keys[:-1], start=1):
        if isinstance(node.get(key), str) and keys[depth] in KEYS:
            # A class without arguments may be written as its name alone.
            node[key] = {"class_path": node[key]}
        if not isinstance(node.get(key), dict):
            default = _at(defaults, keys[:depth])
            node[key] = copy.deepcopy(dict(default)) if isinstance(default, Mapping) and "class_path" in default else {}
        node = node[key]
    node[keys[-1]] = value


def drop(config: Config, keys: Keys) -> None:
    """Takes out what keys lead to, and what holds nothing then."""
    parent = _at(config, keys[:-1])
    if isinstance(parent, dict):
        parent.pop(keys[-1], None)
        if not parent:
            drop(config, keys[:-1])


def given_at(config: Mapping[str, Any], keys: Keys) -> bool:
    """Whether a config says what keys lead to."""
    parent = _at(config, keys[:-1])
    return isinstance(parent, Mapping) and keys[-1] in parent


def names_of_class(made: Any) -> tuple[frozenset[str], bool]:
    """The names of a class's arguments, those that its **kwargs pass on included, and whether it takes any other."""
    named, _, open_ended = arguments(made)
    if not open_ended:
        return frozenset(named), False
    added = ArgumentParser().add_class_arguments(made, fail_untyped=False, skip=named)
    return frozenset(named | {name.partition(".")[0] for name in added}), True


def _model_takes(argument: str, model: Any, sections: Mapping[str, Collection[str]]) -> bool:
    class_path = model.get("class_path") if isinstance(model, Mapping) else model
    if not isinstance(class_path, str):
        return argument in sections.get("model", ())
    try:
        made = import_class("model", class_path)
    except ConfigError:
        # A class of the user's script. Only a config can name one without its module.
        return "." in class_path
    return argument in (names_of_class(made)[0] if inspect.isclass(made) else arguments(made)[0])


def _kind(name: str, argument: str, class_path: str) -> str:
    """``init_args``, or ``dict_kwargs`` for what a class takes by its **kwargs only."""
    made = import_class(f"space[{name!r}]", class_path)
    known, open_ended = names_of_class(made) if inspect.isclass(made) else (frozenset[str](), True)
    if argument in known or not inspect.isclass(made):
        return "init_args"
    if open_ended:
        return "dict_kwargs"
    short = class_path.rpartition(".")[2]
    raise ConfigError(f"space[{name!r}]: {short} has no argument {argument!r}{did_you_mean(argument, known)}{it_takes(known)}")


def _check_known(name: str, section: str, key: str, node: Any, known: Collection[str]) -> None:
    if node is None and not known and section != "model":
        raise ConfigError(f"space[{name!r}] needs a section {section}, which is missing")
    if known and key not in known:
        raise ConfigError(f"space[{name!r}]: {section} has no argument {key!r}{did_you_mean(key, known)}{it_takes(known)}")


def _at(config: Any, keys: Keys) -> Any:
    for key in keys:
        if not isinstance(config, Mapping):
            return None
        config = config.get(key)
    return config
