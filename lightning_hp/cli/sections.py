"""What a config names, checked before the parser sees it: where a name is wrong, the nearest is told, and where it belongs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from lightning_hp.cli.classes import check_keys, check_names, import_class
from lightning_hp.cli.names import names_of_class
from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.signature import arguments

_BASES: dict[str, type] = {"model": LightningModule, "data": LightningDataModule}
# Trainer arguments that are objects.
_OBJECTS = ("callbacks", "logger", "plugins", "profiler", "strategy")


def check_sections(config: Mapping[str, Any]) -> None:
    """Checks the names of the classes, and of their arguments, that a config has.

    Raises:
        ConfigError: a class cannot be imported, or is of the wrong kind, or takes no such arguments.
    """
    for key in ("model", "data", "optimizer", "lr_scheduler"):
        section = config.get(key)
        if isinstance(section, Mapping) and "class_path" in section:
            _check_class(key, section)
    trainer = config.get("trainer")
    # Text names a file that holds the section.
    if trainer is not None and not isinstance(trainer, (Mapping, str)):
        raise ConfigError(f"trainer needs a mapping of Trainer arguments, such as max_epochs: 10, got {trainer!r}")
    if isinstance(trainer, Mapping):
        # As in callbacks+, which appends.
        named = {str(key).removesuffix("+"): value for key, value in trainer.items()}
        check_names("trainer", named, Trainer, "Trainer")
        for key in _OBJECTS:
            if key in named:
                _check_objects(key, named[key])


def _check_class(key: str, section: Mapping[str, Any]) -> None:
    class_path = section["class_path"]
    base = _BASES.get(key)
    if not isinstance(class_path, str):
        raise ConfigError(f"{key} needs a class_path, such as class_path: my_package.MyClass, got {section!r}")
    if "." not in class_path:
        if base is not None and not _imported(base, class_path):
            raise ConfigError(
                f"{key}.class_path needs a dotted path, such as my_package.MyClass, or the name of a class that is imported "
                f"already, got {class_path!r}"
            )
        check_keys(key, section)
        return
    made = import_class(key, class_path)
    if base is not None and not (inspect.isclass(made) and issubclass(made, base)):
        raise ConfigError(f"{key}.class_path {class_path!r} needs to be a {base.__name__} class")
    if not inspect.isclass(made):
        check_keys(key, section)
        return
    names, open_ended = names_of_class(made)
    check_keys(key, section, names)
    for argument in section.get("init_args") or {}:
        if argument not in names:
            way_out = f"; for its **kwargs use {key}.dict_kwargs" if open_ended else ""
            hint = did_you_mean(str(argument), names)
            raise ConfigError(f"{key}.init_args.{argument} is not an argument of {class_path}{hint}{way_out}")
    for argument in section.get("dict_kwargs") or {}:
        if not open_ended:
            raise ConfigError(f"{key}.dict_kwargs.{argument}: {class_path} takes no **kwargs: write it under {key}.init_args")


def _imported(base: type, name: str) -> bool:
    kinds: list[type] = base.__subclasses__()
    return any(each.__name__ == name or _imported(each, name) for each in kinds)


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
