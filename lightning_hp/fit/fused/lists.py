"""Lists in which modules keep what their steps give, for a hook that takes them at the end of the epoch.

What the step of all rows adds to a list of the template is taken away from it, and each model's own list gets its row. In the
template, marks stand for what the lists hold by then: a step may ask how many there are, and not what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from lightning_hp.fit.copies import lazy_copy, possible
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.state import DEEPEST, MISSING, Path, attributes, find, holder, parts, put, readable
from lightning_hp.fit.fused.trees import alike, has_rows

# What has been added to lists, by where they are.
Added: TypeAlias = dict[Path, list[Any]]


@dataclass(frozen=True)
class Shared:
    """What a step has added to a list and is the same for all rows."""

    value: Any


class _Earlier:
    """Stands in a list of the template for what an earlier step has added."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise CannotFuseError("the step reads what an earlier one has added to a list")


_EARLIER = _Earlier()


class Growth:
    """Sees what a step adds to the lists of a module.

    Args:
        module: which runs it.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.look()

    def look(self) -> None:
        """Finds the module's lists and dicts anew."""
        self.found = _containers(self._module)

    @contextmanager
    def taken(self) -> Iterator[Added]:
        """Takes away what is added within.

        Yields:
            What that is, once it is over.
        """
        sizes = list(map(len, self.found.values()))
        added: Added = {}
        try:
            yield added
        finally:
            # Most modules have few lists, and no step adds to them.
            if sizes != list(map(len, self.found.values())):
                for (path, container), size in zip(self.found.items(), sizes, strict=True):
                    if len(container) > size:
                        added |= _cut_off(path, container, size)


def _cut_off(path: Path, container: list[Any] | dict[Any, Any], size: int) -> Added:
    """Takes what a container has beyond a size: of a list its items, of a dict its lists."""
    if isinstance(container, dict):
        new = [key for key in list(container)[size:] if isinstance(container[key], list)]
        return {(*path, key): container.pop(key) for key in new}
    if _of_class(path):
        raise CannotFuseError(f"{readable((path[0], path[2]))} is one list for all trials, an attribute of their class")
    items = container[size:]
    del container[size:]
    return {path: items}


class Lists:
    """The lists of the rows' models that grow, and those of the template.

    Args:
        template: which runs the steps.
        grown: the lists that have grown so far, each with the number of items that it had before.

    Attributes:
        grown: the same, now.
    """

    def __init__(self, template: nn.Module, grown: Mapping[Path, int] | None = None) -> None:
        self.template = template
        self.grown = dict(grown or {})
        self._growth = Growth(template)

    def look(self) -> None:
        """Finds the template's lists anew."""
        self._growth.look()

    def notice(self, model: nn.Module) -> None:
        """Learns of lists that a hook of the first model has let grow."""
        for path, own in self._growth.found.items():
            if isinstance(own, list) and path not in self.grown:
                theirs = find(model, path)
                if isinstance(theirs, list) and len(theirs) > len(own):
                    self.grown[path] = len(own)

    @contextmanager
    def apart(self, models: Iterable[nn.Module]) -> Iterator[None]:
        """Takes out of these models what their lists have grown by, for a while."""
        taken = []
        for model in models:
            for path, size in self.grown.items():
                own = find(model, path)
                if isinstance(own, list):
                    taken.append((own, own[size:]))
                    del own[size:]
        try:
            yield
        finally:
            for own, items in reversed(taken):
                own.extend(items)

    def follow(self, model: nn.Module) -> None:
        """Makes the template's lists as long as the first model's, which its hooks may have cleared."""
        for path in self.grown:
            theirs, own = find(model, path), find(self.template, path)
            if isinstance(theirs, list):
                if not isinstance(own, list):
                    own = self._growth.found[path] = []
                    put(holder(self.template, path), path[-1], own)
                self.grown[path] = min(self.grown[path], len(theirs))
                del own[len(theirs) :]
                own.extend([_EARLIER] * (len(theirs) - len(own)))
            elif isinstance(own, list) and isinstance(kept := holder(self.template, path), dict):
                del kept[path[-1]], self._growth.found[path]

    @contextmanager
    def lent(self, step: str) -> Iterator[Added]:
        """Takes away what a step adds to the template's lists.

        Yields:
            What that is, once it is over.

        Raises:
            CannotFuseError: it does something else to one of them.
        """
        owns = [(path, own) for path in self.grown if isinstance(own := find(self.template, path), list)]
        marks = [own.count(_EARLIER) for _, own in owns]
        with self._growth.taken() as added:
            yield added
        for (path, own), count in zip(owns, marks, strict=True):
            # A mark that an insertion has pushed is among what was taken away.
            if own.count(_EARLIER) != count or find(self.template, path) is not own:
                raise CannotFuseError(f"{step} changes {readable(path)} of the module")

    def give(self, models: Sequence[nn.Module], added: Added) -> None:
        """Gives each model's own lists its row of what a step has added.

        Args:
            models: one per row.
            added: as `marked` makes it, its tensors with a first axis for the rows.
        """
        for path, items in added.items():
            owns = [_list_of(model, path) for model in models]
            self.grown.setdefault(path, len(owns[0]))
            for item in items:
                for own, value in zip(owns, rows(item, len(models)), strict=True):
                    own.append(value)


def marked(added: Added) -> Added:
    """Marks what is the same for all rows, so that the rest is tensors that differ.

    Raises:
        CannotFuseError: of something nobody knows whether it differs.
    """
    return {path: [_marked(item, path) for item in items] for path, items in added.items()}


def _marked(value: Any, path: Path) -> Any:
    if isinstance(value, Tensor):
        return value if has_rows(value) else Shared(value)
    if isinstance(value, _PLAIN):
        return Shared(value)
    if type(value) is dict:
        return {key: _marked(each, path) for key, each in value.items()}
    if type(value) in (list, tuple) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return alike(value, (_marked(each, path) for each in value))
    if value is _EARLIER:
        raise CannotFuseError(f"the step moves what {readable(path)} holds")
    raise CannotFuseError(f"the step adds to {readable(path)} a {type(value).__name__}, which may differ between the trials")


_PLAIN = (int, float, complex, str, bytes, type(None), np.generic, np.ndarray, torch.dtype, torch.device)


def rows(value: Any, count: int) -> list[Any]:
    """What each row gets of an item: of a tensor without its graph, which nobody needs and which would be kept."""
    if isinstance(value, Shared):
        own = value.value
        return [lazy_copy(own) if isinstance(own, Tensor) and possible(own) else own for _ in range(count)]
    if isinstance(value, Tensor):
        return list(value.detach().unbind())
    if isinstance(value, dict):
        return [dict(zip(value, own, strict=True)) for own in _columns(value.values(), count)]
    return [alike(value, own) for own in _columns(value, count)]


def _columns(values: Iterable[Any], count: int) -> Iterable[tuple[Any, ...]]:
    columns = [rows(each, count) for each in values]
    return zip(*columns, strict=True) if columns else [()] * count


def _list_of(model: nn.Module, path: Path) -> list[Any]:
    own = find(model, path)
    if own is MISSING and isinstance(kept := holder(model, path), dict):
        own = kept[path[-1]] = []
    if not isinstance(own, list):
        raise CannotFuseError(f"{readable(path)} is not a list in all trials")
    return own


def _containers(module: nn.Module) -> dict[Path, list[Any] | dict[Any, Any]]:
    """The lists and dicts in a module, and those that its class has for all modules, by where they are."""
    found: dict[Path, list[Any] | dict[Any, Any]] = {}
    seen: set[int] = set()

    def visit(value: Any, path: Path) -> None:
        held = parts(value) if len(path) < DEEPEST and id(value) not in seen else None
        if held is None:
            return
        seen.add(id(value))
        if isinstance(value, (list, dict)):
            found[path] = value
        for key, each in held if not isinstance(value, (list, dict, tuple)) or len(value) <= _MOST else ():
            visit(each, (*path, key))

    for path, value in attributes(module):
        visit(value, path)
    for name, part in module.named_modules():
        for kind in type(part).__mro__:
            own = () if kind.__module__.partition(".")[0] in ("torch", "lightning", "builtins") else vars(kind).items()
            found |= {(name, _CLASS, key): value for key, value in own if isinstance(value, list)}
    return found


# Nobody keeps lists in a longer one.
_MOST = 1000
_CLASS = "__class__"


def _of_class(path: Path) -> bool:
    return bool(path[1] == _CLASS)
