"""The keys of a config's ``search:`` section, each of which is also a flag, and how their text becomes values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lightning_hp.errors import ConfigError

SETTINGS = {
    "monitor": "the logged metric to optimise",
    "mode": "min or max",
    "trials": "how many trials the study shall have in all",
    "max_time": "no trial begins after this much time: seconds or DD:HH:MM:SS",
    "strategy": "random or grid",
    "points": "with grid: values per hyperparameter, a number or {name: number}",
    "space": "scales by name: {model.lr: {scale: log, low: 1e-4, high: 1.0}}",
    "babysit": "watch each trial; true, or the Babysitter's arguments",
    "executor": "where trials run: auto or inline",
    "seed": "decides hyperparameters, weights, split and batch order",
    "root": "the study's folder; a study that is there is continued",
    "verbose": "let Lightning say all it has to say",
}


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: numbers as in YAML 1.2, and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


# Numbers as in YAML 1.2. The 1.1 that PyYAML follows reads 1e-4 as text, and 12:00:00:00 as a number to base 60.
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(0|[1-9]\d*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"([-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?|[-+]?\.inf|\.nan)$"), list("-+.0123456789")
)


def parse_value(text: str) -> Any:
    """The value of a flag, by the rules of YAML.

    >>> parse_value("1e-4"), parse_value("true"), parse_value("00:01:00:00")
    (0.0001, True, '00:01:00:00')
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        return text


def read_config(path: Path) -> dict[str, Any]:
    """A config as plain values.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        config = yaml.load(path.read_text(), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not a text file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: needs the sections model and search, got {config!r}")
    return config
