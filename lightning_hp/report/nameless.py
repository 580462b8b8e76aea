"""What of a search the config that is written for it cannot say: functions, objects, and what stands in a script of Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_hp.pruners import PRUNERS
from lightning_hp.samplers import NAMES
from lightning_hp.samplers.optuna import NAME as OPTUNA

WHY = "a search in Python may have what no config can say (functions, objects, classes of its script)"

Place = tuple[str | int, ...]

# Where a process finds the classes of the script that it runs, and no other process does.
SCRIPT = "__main__."

# Arguments of Trainer that are objects, and the module of Lightning whose classes a config may call by their name alone.
_OBJECTS = {"callbacks": "callbacks", "logger": "loggers", "plugins": None, "profiler": None, "strategy": None}
_KNOWN = {"strategy": NAMES, "pruner": tuple(PRUNERS)}


def nameless(config: Mapping[str, Any]) -> dict[Place, str]:
    """What stands in the place of what a config cannot say, by the keys that lead there.

    Args:
        config: of a study.

    >>> nameless({"model": {"class_path": "__main__.Net"}, "trainer": {"callbacks": ["<lambda>"], "max_epochs": 3}})
    {('model', 'class_path'): '__main__.Net', ('trainer', 'callbacks', 0): '<lambda>'}
    """
    return dict(_found(config))


def program(config: Mapping[str, Any]) -> str | None:
    """How a command begins that makes a study's search anew; None where only Python does.

    >>> program({"model": {"class_path": "my_package.Net"}}), program({"model": {"class_path": "__main__.Net"}})
    ('lightning-hp', None)
    """
    if nameless(config):
        return None
    # A LightningCLI that names its model itself is known to its script only.
    return "lightning-hp" if not config or "class_path" in (config.get("model") or {}) else "python SCRIPT"


def zoom_call(root: Path, config: Mapping[str, Any]) -> str:
    """The command that searches the space which a study suggests, or the Python that does where no command can.

    >>> zoom_call(Path("runs/a"), {"model": {"class_path": "my_package.Net"}})
    'lightning-hp search --from runs/a --zoom'
    """
    begin = program(config)
    return zoom_in_python(root) if begin is None else zoom_command(root, begin)


def zoom_command(root: Path, begin: str) -> str:
    """The command alone, which begins with a program."""
    return f"{begin} search --from {shlex.quote(str(root))} --zoom"


def zoom_in_python(root: Path) -> str:
    """The same in Python, for any study."""
    return f"SearchLoop(..., space=Study({str(root)!r}).zoom(), warm_start={str(root)!r})"


def place_name(place: Place) -> str:
    """The keys as they are told.

    >>> place_name(("trainer", "callbacks", 0))
    'trainer.callbacks[0]'
    """
    first, *rest = place
    return str(first) + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in rest)


def _found(config: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    for key, section in config.items():
        if isinstance(section, Mapping) and _of_script(section.get("class_path")):
            yield (key, "class_path"), section["class_path"]
    trainer, search = config.get("trainer"), config.get("search")
    for key, value in trainer.items() if isinstance(trainer, Mapping) else ():
        several = isinstance(value, list)
        for index, item in enumerate(value if several else [value]):
            if _of_script(item) or (key in _OBJECTS and _no_class(item, _OBJECTS[key])):
                yield ("trainer", key, *([index] if several else [])), item if isinstance(item, str) else json.dumps(item)
    if not isinstance(search, Mapping):
        return
    if _of_script(search.get("constraint")):
        yield ("search", "constraint"), search["constraint"]
    for key, known in _KNOWN.items():
        value = search.get(key)
        named = value.get("name") if isinstance(value, Mapping) else value
        if value is not None and not (isinstance(named, str) and (named in known or named.startswith(f"{OPTUNA}."))):
            yield ("search", key), value if isinstance(value, str) else json.dumps(value)


def _of_script(value: Any) -> bool:
    return isinstance(value, str) and ("<" in value or value.startswith(SCRIPT))


def _no_class(item: Any, module: str | None) -> bool:
    """Whether an object of the Trainer's is written down by a name that says not where it is."""
    if isinstance(item, Mapping):
        return "class_path" not in item
    if module is None or not isinstance(item, str) or "." in item:
        return False
    from lightning import pytorch

    return not hasattr(getattr(pytorch, module), item)
