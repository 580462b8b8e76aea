"""``lightning-hp lint``: what is wrong (exit code 2) or unwise (told, exit code 0) in a config, before a minute is spent."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_hp.cli.config import build, load
from lightning_hp.cli.messages import in_yaml
from lightning_hp.cli.sections import SectionFactory
from lightning_hp.errors import did_you_mean
from lightning_hp.loop import SearchLoop
from lightning_hp.space import route


def main(config: str) -> int:
    loop = build(config, load(config, {}))
    lines = notes(loop)
    for line in lines:
        print(f"{config}: {line}")
    if not lines:
        print(f"{config}: nothing to complain about")
    return 0


def notes(loop: SearchLoop) -> list[str]:
    """What is unwise in a search that a config asks for, one line each."""
    return [*map(in_yaml, loop.notes), *_about_names(loop)]


def _about_names(loop: SearchLoop) -> Iterator[str]:
    factories = {"model": loop.recipe.model, "data": loop.recipe.data}
    for name in loop.space:
        target, argument = route(name)
        factory = factories.get(target)
        given, where = loop.recipe.trainer, "trainer"
        if isinstance(factory, SectionFactory):
            given, where = {**factory.init_args, **factory.dict_kwargs}, f"{target}.init_args"
            if argument not in factory.names:
                hint = did_you_mean(argument, factory.names)
                yield f"{factory.class_path} takes **kwargs and names no {argument!r}{hint}: make sure that it is used"
        if argument in given:
            yield f"search.space.{name} takes the place of {where}.{argument}: leave one of them out"
