"""Numbers of each row's own, as a step finds them: tensors that ``isinstance`` takes for what they are in an ordinary step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Number(Tensor):
    """A tensor that stands for a number. What comes of computing with it is an ordinary one.

    Otherwise a step that asks for the type of a number, perhaps not in the first batch, would go another way than by itself.

    >>> rate = torch.tensor(0.5).as_subclass(Real)
    >>> isinstance(rate, float), isinstance(rate, Tensor), type(rate * 2).__name__
    (True, True, 'Tensor')
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __format__(self, spec: str) -> str:
        # In a text there is no room for all rows'. Of a class of its own torch would give another text.
        return format(self.item(), spec)


class Whole(Number):
    """An int."""

    __class__ = int  # type: ignore[assignment]


class Real(Number):
    """A float."""

    __class__ = float  # type: ignore[assignment]


def kind_of(values: Sequence[Any]) -> type[Number] | None:
    """As which kind a step finds these numbers; None where they are not all of one type."""
    kinds = {type(value) for value in values}
    return _KINDS.get(kinds.pop()) if len(kinds) == 1 else None


def tensor_of(value: Any) -> Any:
    """What a step has made a tensor of: the tensor, where it is a number here."""
    return value.as_subclass(Tensor) if isinstance(value, Number) else value


_KINDS: dict[type, type[Number]] = {int: Whole, float: Real}
