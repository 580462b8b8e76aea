"""What a step makes in the module that runs it, besides registered tensors: the same for all rows, or it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lightning_hp.fit.copies import lazy_copy
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.state import MISSING, SIZE, Path, changes, find, holder, kept, put, readable, same, state
from lightning_hp.fit.fused.trees import has_rows

# The length of an attribute's path; those of what it holds are longer.
_OF_ATTRIBUTE = 2


class Made:
    """Follows what steps make in the template: a mask, a word in a config, features that a hook looks at.

    Args:
        template: which runs them.
        model: the first row's, of which it is a copy.
    """

    def __init__(self, template: nn.Module, model: nn.Module) -> None:
        self._template = template
        self._ran: set[str] = set()
        self._plain: dict[Path, Any] = {}
        self._tensors: set[Path] = set()
        # In a template's metrics, some checks are off.
        self._otherwise = set(self._differing(model))

    def before(self, name: str) -> dict[Path, Any] | None:
        """The template's state before a step first runs; None from then on."""
        return kept(state(self._template)) if name not in self._ran else None

    def look(self, name: str, before: Mapping[Path, Any] | None, models: Sequence[nn.Module]) -> None:
        """Lets a step make nothing but what is the same for all rows, and plain values that stay.

        Args:
            name: of the step.
            before: see `before`.
            models: of the rows.

        Raises:
            CannotFuseError: it makes something else.
        """
        changed = [path for path, value in self._plain.items() if not same(find(self._template, path), value)]
        if before is not None:
            after, others = state(self._template), list[dict[Path, Any]]()
            for path in changes(before, after):
                value = after.get(path, MISSING)
                if isinstance(value, Tensor) and not value.requires_grad and not has_rows(value):
                    self._tensors.add(path)
                    continue
                # Each model's own step, which the fused one is compared with, has been there before.
                others = others or [state(model) for model in models]
                if isinstance(value, Tensor) or not all(same(other.get(path, MISSING), value) for other in others):
                    changed.append(path)
                elif path[-1] is not SIZE:
                    self._plain[path] = value
            self._ran.add(name)
        if changed:
            raise CannotFuseError(f"{name} changes {readable(changed[0])} of the module")

    def refuse_late(self, model: nn.Module) -> None:
        """Refuses what steps have made since they first ran and a model's hooks would look for in vain.

        Args:
            model: the first row's, which was as the template when hooks last ran.

        Raises:
            CannotFuseError: there is such a thing.
        """
        for path in self._differing(model):
            if path not in self._otherwise:
                raise CannotFuseError(f"a step changes {readable(path)} of the module", anew=True)

    def _differing(self, model: nn.Module) -> list[Path]:
        """Where the template has other numbers and words than a model, or attributes that it has not."""
        theirs = state(model)
        plain = {path: value for path, value in state(self._template).items() if isinstance(value, (int, float, str))}
        known = [path for path in plain if path in theirs or len(path) == _OF_ATTRIBUTE]
        return [path for path in known if not same(theirs.get(path, MISSING), plain[path])]

    def scatter(self, models: Sequence[nn.Module]) -> bool:
        """Gives the models the tensors that steps have made last.

        Returns:
            Whether there are any.
        """
        found = [(path, value) for path in self._tensors if isinstance(value := find(self._template, path), Tensor)]
        for path, value in found:
            # A recorded step writes to the same tensor each time.
            kept = value.clone()
            for model in models:
                if isinstance(find(model, path), Tensor):
                    put(holder(model, path), path[-1], lazy_copy(kept))
        return bool(found)
