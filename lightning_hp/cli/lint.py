"""``lightning-hp lint``: what is wrong (exit code 2) or unwise (told, exit code 0) in a config, before a minute is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lightning.pytorch.cli import LightningCLI

from lightning_hp.cli.classes import import_class
from lightning_hp.cli.config import build, label, load
from lightning_hp.cli.messages import in_yaml
from lightning_hp.cli.names import given_at, names_of_class
from lightning_hp.cli.parts import Made
from lightning_hp.errors import did_you_mean
from lightning_hp.loop import SearchLoop


def main(config: Sequence[str], lightning: Sequence[str], make: Callable[[], Any] = LightningCLI) -> int:
    loop = build(config, load(config, {}, lightning, make), make)
    lines = notes(loop)
    for line in lines:
        print(f"{label(config)}: {line}")
    if not lines:
        print(f"{label(config)}: nothing to complain about")
    return 0


def notes(loop: SearchLoop) -> list[str]:
    """What is unwise in a search that a config asks for, one line each."""
    return [*map(in_yaml, loop.notes), *_about_names(loop)]


def _about_names(loop: SearchLoop) -> Iterator[str]:
    model = loop.recipe.model
    if not isinstance(model, Made):
        return
    assembly = model.assembly
    for name in loop.space:
        keys = assembly.locate(name)
        if "dict_kwargs" in keys:
            section = Made(assembly, keys[0])
            known, _ = names_of_class(import_class(keys[0], section.class_path))
            hint = did_you_mean(keys[-1], known)
            yield f"{section.class_path} takes **kwargs and names no {keys[-1]!r}{hint}: make sure that it is used"
        if given_at(assembly.given, keys):
            yield f"search.space.{name} is searched; the config's own {'.'.join(keys)} counts for fit alone"
