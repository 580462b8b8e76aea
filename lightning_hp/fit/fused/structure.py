"""What models have in common that may be stacked, and their size."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter


def structure_of(model: nn.Module) -> str:
    """What is the same for models that may train as one, and different for others: the classes of a model's parts, and the
    names, shapes and types of its parameters and buffers, and which of them are trained.

    The same in all processes and on all machines.

    >>> structure_of(nn.Linear(2, 3)) == structure_of(nn.Linear(2, 3)) != structure_of(nn.Linear(2, 4))
    True
    """
    parts = [(name, type(part).__module__, type(part).__qualname__) for name, part in model.named_modules()]
    tensors = _kinds(model.named_parameters()), _kinds(model.named_buffers())
    return sha256(repr((parts, tensors)).encode()).hexdigest()


def bytes_of(model: nn.Module) -> int:
    """What a model's parameters and buffers take of memory."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.nbytes for tensor in tensors if _shape(tensor) is not None)


def _kinds(tensors: Iterable[tuple[str, Tensor]]) -> list[tuple[Any, ...]]:
    return [(name, _shape(tensor), tensor.dtype, tensor.requires_grad) for name, tensor in tensors]


def _shape(tensor: Tensor) -> tuple[int, ...] | None:
    """None of what gets its shape with the first batch."""
    return None if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)) else tuple(tensor.shape)
