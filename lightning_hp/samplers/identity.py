"""A space as the key of a cache: told from others by which object it is, and not by what it holds."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_hp.space import Space


@dataclass(frozen=True)
class Identity:
    """A space that equals no other one, however alike. Functions such as a constraint cannot be compared otherwise."""

    space: Space

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.space is self.space

    def __hash__(self) -> int:
        return id(self.space)
