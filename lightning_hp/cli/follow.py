"""``lightning-hp search --from ROOT [--zoom]``: a search that goes on where another one has ended, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_hp.cli.config import default_root
from lightning_hp.cli.settings import read_config
from lightning_hp.errors import ConfigError
from lightning_hp.report.nameless import WHY, nameless, place_name, zoom_in_python
from lightning_hp.search.earlier import earlier_trials
from lightning_hp.space import Space
from lightning_hp.space.scales import Choice
from lightning_hp.study import Study
from lightning_hp.study.config import FILE
from lightning_hp.study.config import read_config as read_written


def follow(
    config: Sequence[str], source: str, zoom: bool, load: Callable[[Sequence[str]], dict[str, Any]], flags: Mapping[str, Any]
) -> tuple[Sequence[str], dict[str, Any]]:
    """The config of a search that sees another study's trials.

    Args:
        config: its files; the study's own if there are none.
        source: folder of the other study.
        zoom: take the space that the other study suggests.
        load: makes one config of files, with the flags laid over it.
        flags: those of the search.

    Returns:
        The files, and the config.

    Raises:
        ConfigError: the folder holds no study or, without ``config``, no config; or both searches would share a folder.
    """
    root = Path(source).expanduser()
    study = Study(root)
    if not config and not (root / FILE).is_file():
        raise ConfigError(f"--from {source} holds no {FILE}: say which CONFIG to search")
    paths = config or [str(root / FILE)]
    asked = load(paths)
    search = dict(asked["search"])
    if zoom:
        search["space"] = _plain(Study(root, searched_space(study)).zoom())
    earlier = search.get("warm_start") or []
    earlier = [earlier] if isinstance(earlier, str) else list(earlier)
    if not config:
        # These have been tried, in the study whose trials are seen now.
        search = {key: value for key, value in search.items() if key != "enqueue" or key in flags}
        if "warm_start" not in flags:
            earlier = [each for each in earlier if _fits(each, search)]
    search["warm_start"] = [*earlier, *([source] if source not in earlier else [])]
    search["root"] = _own_root(config, root, zoom, search, flags)
    return paths, {**asked, "search": search}


@contextmanager
def explained(source: str | None) -> Iterator[None]:
    """Adds how to go on in Python to the message of what is wrong, where a study's config cannot say all of its search.

    Args:
        source: its folder; None for a search that has a config of its own.
    """
    try:
        yield
    except ConfigError as error:
        missing = nameless(read_written(Path(source).expanduser())) if source is not None else {}
        if source is None or not missing:
            raise
        places = ", ".join(map(place_name, missing))
        raise ConfigError(f"{error}; {WHY}, here {places}: go on in Python, with {zoom_in_python(Path(source))}") from None


def _own_root(config: Sequence[str], root: Path, zoom: bool, search: Mapping[str, Any], flags: Mapping[str, Any]) -> str:
    """A folder for the new study, which is never that of the other one."""
    beside = f"{root}-{'zoom' if zoom else 'next'}"
    if not config and "root" not in flags:
        return beside
    asked: str = search.get("root", default_root(config) if config else beside)
    if Path(asked).expanduser().resolve() != root.resolve():
        return asked
    if "root" in flags:
        raise ConfigError(f"--root {asked} is the study of --from itself, which stays as it is: take another folder")
    return beside


def searched_space(study: Study) -> Space:
    """The space of a study, where its config has it with the choices' own values, such as lists."""
    asked = Space(study.asked["space"])
    file = study.root / FILE
    written = (read_config(file).get("search") or {}).get("space") if file.is_file() else None
    # The file may have been edited since.
    return space if written and (space := Space(written)).describe() == asked.describe() else asked


def _plain(space: Space) -> dict[str, Any]:
    """A space of a config as it is written there."""
    plain = space.describe()
    for name, each in space.layout.items():
        if isinstance(each.scale, Choice):
            plain[name]["values"] = list(each.scale.values)
        for parent, scale, condition in each.conditions:
            if isinstance(scale, Choice) and condition.values:
                plain[name]["when"][parent] = list(condition.values)
    return plain


def _fits(root: str, search: Mapping[str, Any]) -> bool:
    """Whether an earlier study still has a trial in the space."""
    try:
        return bool(earlier_trials(Space(search["space"]), search["monitor"], search.get("mode", "min"), [Path(root)]))
    except (ConfigError, KeyError):
        return False
