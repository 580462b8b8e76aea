"""A space with other scales, and of its conditions those that can still hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lightning_hp.errors import ConfigError
from lightning_hp.space import Space
from lightning_hp.space.conditions import Condition, Conditional
from lightning_hp.space.scales import Choice, Scale


def rescaled(space: Space, scales: Mapping[str, Scale]) -> Space:
    """A space with other scales. What can no longer exist with these is left out.

    Args:
        space: as it was.
        scales: of all its hyperparameters: parts of their scales, or wider ones.

    >>> from lightning_hp import Log
    >>> space = Space({"optimizer": Choice("sgd", "adam"), "momentum": Log(0.1, 0.9).when(optimizer="sgd")})
    >>> rescaled(space, {"optimizer": Choice("adam"), "momentum": Log(0.1, 0.9)})
    Space({'optimizer': Choice(values=('adam',))})
    """
    kept: dict[str, Scale | Conditional] = {}
    for name in space.layout:
        declared = _declared(space[name], scales[name], scales)
        try:
            Space({**kept, name: declared})
        except ConfigError:
            continue
        kept[name] = declared
    return Space({name: kept[name] for name in space if name in kept}, space.constraint)


def _declared(before: Scale | Conditional, scale: Scale, scales: Mapping[str, Scale]) -> Scale | Conditional:
    if not isinstance(before, Conditional):
        return scale
    return replace(
        before, scale=scale, conditions={name: _left(each, scales[name]) for name, each in before.conditions.items()}
    )


def _left(condition: Condition, scale: Scale) -> Condition:
    """A condition without the values that a choice no longer has; as it was where none is left, so that it cannot hold."""
    if not isinstance(scale, Choice):
        return condition
    values = tuple(each for each in condition.values if any(scale.same(each, other) for other in scale.values))
    return replace(condition, values=values) if values else condition
