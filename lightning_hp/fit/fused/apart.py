"""What differs between the models of a fused job and is no number, such as a name or a cache: a step must not read it.

Most of it never is: the name of a run, a folder, what a library has found out about its own classes. So it is watched while a
step runs, and keeps the models apart only if the step does read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from torch import nn

from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.state import SIZE, Path, get


@contextmanager
def unread(module: nn.Module, differing: Mapping[Path, str]) -> Iterator[None]:
    """Has it refused, for the time of a step, to read what differs.

    Args:
        module: which runs the step.
        differing: where something differs, and what to say of it.

    Raises:
        CannotFuseError: the step reads it, or it cannot be watched.
    """
    watched: dict[int, tuple[Any, dict[str, str]]] = {}
    for path, reason in differing.items():
        owner, name = _attribute(module, path)
        watched.setdefault(id(owner), (owner, {}))[1].setdefault(name, reason)
    kinds = [(owner, type(owner)) for owner, _ in watched.values()]
    try:
        for owner, reasons in watched.values():
            _become(owner, reasons)
        yield
    finally:
        for owner, kind in kinds:
            object.__setattr__(owner, "__class__", kind)


def _attribute(module: nn.Module, path: Path) -> tuple[Any, str]:
    """The attribute by which one comes to a place: of the module, or of the innermost plain object on the way."""
    found: Any = module.get_submodule(path[0])
    owner, name = found, path[1]
    for key in path[1:]:
        if key is SIZE:
            break
        if not isinstance(found, (Mapping, list, tuple, deque)):
            owner, name = found, key
        found = get(found, key)
    return owner, name


def _become(owner: Any, reasons: Mapping[str, str]) -> None:
    kind: Any = type(owner)
    try:
        object.__setattr__(owner, "__class__", _refusing(kind, tuple(reasons.items())))
    except Exception:
        # A class may forbid that there are others like it.
        raise CannotFuseError(next(iter(reasons.values()))) from None


@lru_cache(maxsize=64)
def _refusing(kind: Any, reasons: tuple[tuple[str, str], ...]) -> type:
    """A class to all others the same, whose objects refuse to have some of their attributes read."""
    told = dict(reasons)

    def read(self: Any, name: str) -> Any:
        if name in told:
            raise CannotFuseError(told[name], anew=True)
        return kind.__getattribute__(self, name)

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {"__slots__": (), "__getattribute__": read, **names})
