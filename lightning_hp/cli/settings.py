"""The keys of a config's ``search:`` section, each of which is also a flag, and how their text becomes values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lightning_hp.errors import ConfigError

SETTINGS = {
    "monitor": "the logged metric to optimise",
    "mode": "min or max (default min)",
    "trials": "how many trials the study shall have in all",
    "max_time": "no trial begins after this much time: seconds or DD:HH:MM:SS",
    "strategy": "coarse-to-fine, or {name: coarse-to-fine, first: 24, size: 12}, quasi, random, grid, optuna or "
    "optuna.samplers.NAME (default coarse-to-fine)",
    "points": "with grid: values per hyperparameter, a number or {name: number} (default 3)",
    "pruner": "ends trials early that others beat: halving, asha, progressive, or {name: halving, first: 2, factor: 3} "
    "(default none)",
    "space": "scales by name: {model.lr: {scale: log, low: 1e-4, high: 1.0}}; beside these, when: {model.optimizer: sgd} for "
    "what exists with a value of another only, and per: model.layers for a list",
    "constraint": "the path of a function that says of hyperparameters whether they may be tried: my_module.small_enough",
    "enqueue": "hyperparameters to try first: [{model.lr: 0.1}]; what one leaves out is drawn at random",
    "warm_start": "the folder of an earlier study, or several, whose trials the strategy sees too",
    "babysit": "watch each trial: true, or the Babysitter's arguments (default false)",
    "executor": "where trials run: inline, processes, ray, {name: ray, num_gpus: 0.5, runtime_env: {working_dir: .}} or auto "
    "(default auto)",
    "fuse": "train trials with models of one structure as one fit: auto, never or always (default auto)",
    "workers": "how many trials run at a time (default one per GPU, or per core where there is none)",
    "jobs_per_device": "how many trials share a GPU (default 1)",
    "retries": "how often a trial is tried again whose worker died or ran out of memory (default 2)",
    "trial_timeout": "time that a trial may take: seconds or DD:HH:MM:SS",
    "memory_limit": "GiB of memory that a worker may use",
    "keep_checkpoints": "how many trials keep their checkpoints, the best ones, or null for all (default 10)",
    "keep_runs": "how many trials keep their run in TensorBoard, the best ones, or null for all (default 200)",
    "seed": "decides hyperparameters, weights, split and batch order (default 0)",
    "root": "the study's folder; a study that is there is continued (default runs/ and the config's name)",
    "verbose": "let Lightning say all it has to say (default false)",
}
# Flags of a search that are no settings: what they lead to is written down as such.
SEARCH_FLAGS = {
    "from": "the folder of a finished study, whose trials the strategy sees too; without CONFIG it is searched as it was asked",
    "zoom": "search the space that the study of --from suggests, narrowed and widened: see what show says of it",
    "ray_address": "with --executor ray, the cluster: auto for the one that this machine belongs to, or HOST:PORT of its head; "
    "in a config, executor: {name: ray, address: auto}",
}
# Those that one babysat fit has, with what they mean there.
BABYSIT_SETTINGS = {
    "monitor": "the logged metric to watch (default val_loss)",
    "mode": "min or max (default min)",
    "seed": "decides weights, split and batch order (default 0)",
    "root": "the fit makes a folder version_N in it (default runs/, the config's name and -babysit)",
    "replay": "a babysit.jsonl, or its folder: do what it says at the same places, and watch nothing",
    "verbose": "let Lightning say all it has to say (default false)",
}


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: numbers as in YAML 1.2, and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key, _ in node.value:
            if key.value in seen:
                problem = f"the key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.append(key.value)
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

    Raises:
        ConfigError: it is not YAML.

    >>> parse_value("1e-4"), parse_value("true"), parse_value("00:01:00:00")
    (0.0001, True, '00:01:00:00')
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{text!r} is not valid YAML: {_problem(error)}") from None


def read_config(path: Path) -> dict[str, Any]:
    """A config as plain values.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not a text file") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: is not valid YAML: {_problem(error)}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: needs the sections model and search, got {config!r}")
    return config


def _problem(error: Exception) -> str:
    """What is wrong, without the excerpt and its caret, which need more than one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error).splitlines()[0]
