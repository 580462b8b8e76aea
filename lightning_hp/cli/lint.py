"""``lightning-hp lint``: what is wrong (exit code 2) or unwise (told, exit code 0) in a config, before a minute is spent."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_hp import space
from lightning_hp.cli.config import build, load
from lightning_hp.cli.messages import in_yaml
from lightning_hp.cli.sections import SectionFactory
from lightning_hp.errors import did_you_mean
from lightning_hp.loop import SearchLoop
from lightning_hp.samplers import Grid


def main(config: str) -> int:
    loop = build(config, load(config, {}))
    lines = advice(loop)
    for line in lines:
        print(f"{config}: {line}")
    if not lines:
        print(f"{config}: nothing to complain about")
    return 0


def advice(loop: SearchLoop) -> list[str]:
    """What is unwise in a search that a config asks for, one line each."""
    return [*map(in_yaml, space.lint(loop.space)), *_about_names(loop), *_about_grid(loop)]


def _about_names(loop: SearchLoop) -> Iterator[str]:
    factories = {"model": loop.recipe.model, "data": loop.recipe.data}
    for name in loop.space:
        target, argument = space.route(name)
        factory = factories.get(target)
        given, where = loop.recipe.trainer, "trainer"
        if isinstance(factory, SectionFactory):
            given, where = {**factory.init_args, **factory.dict_kwargs}, f"{target}.init_args"
            if argument not in factory.names:
                hint = did_you_mean(argument, factory.names)
                yield f"{factory.class_path} takes **kwargs and names no {argument!r}{hint}: make sure that it is used"
        if argument in given:
            yield f"search.space.{name} takes the place of {where}.{argument}: leave one of them out"


def _about_grid(loop: SearchLoop) -> Iterator[str]:
    if isinstance(loop.sampler, Grid) and loop.trials is not None:
        size = loop.sampler.size(loop.space)
        if size > loop.trials:
            yield f"search.trials={loop.trials} covers only the first {loop.trials} of the grid's {size} combinations"
