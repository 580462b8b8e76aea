"""Tensors of all rows, and nests of containers with tensors in them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """One value per row, to go with a tensor whose first axis is that of the rows."""
    return values.view(-1, *[1] * (like.dim() - 1))


def has_rows(tensor: Tensor) -> bool:
    """Whether a tensor within vmap is each row's own, and not the same for all."""
    return torch._C._functorch.is_batchedtensor(tensor)


@dataclass(frozen=True)
class _Slot:
    """Where a tensor was in a nest of containers."""

    index: int


def taken_apart(tree: Any) -> tuple[Any, list[Tensor]]:
    """A nest of containers with slots in the tensors' places, and the tensors."""
    tensors: list[Tensor] = []

    def walk(node: Any) -> Any:
        if isinstance(node, Tensor):
            tensors.append(node)
            return _Slot(len(tensors) - 1)
        if isinstance(node, Mapping):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return alike(node, map(walk, node))
        return node

    return walk(tree), tensors


def put_together(tree: Any, tensors: list[Tensor]) -> Any:
    """The nest with these tensors."""
    if isinstance(tree, _Slot):
        return tensors[tree.index]
    if isinstance(tree, dict):
        return {key: put_together(value, tensors) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return alike(tree, (put_together(value, tensors) for value in tree))
    return tree


def alike(sequence: list[Any] | tuple[Any, ...], values: Iterable[Any]) -> Any:
    """A list, a tuple or a named tuple, as the sequence is one, of other values."""
    if isinstance(sequence, list):
        return list(values)
    return type(sequence)(*values) if hasattr(sequence, "_fields") else tuple(values)


def unshared(tree: Any) -> Any:
    """The same for one call of a step, which may take things out of its batch: the tensors are shared, what holds them is not.

    >>> batch = {"x": 1, "labels": [2]}
    >>> unshared(batch).pop("labels").append(3)
    >>> batch
    {'x': 1, 'labels': [2]}
    """
    if type(tree) is dict:
        return {key: unshared(value) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return alike(tree, map(unshared, tree))
    holds = isinstance(tree, Mapping) or hasattr(tree, "__dict__")
    return copy.copy(tree) if holds and not isinstance(tree, (Tensor, nn.Module)) else tree


def in_common(tree: Any) -> bool:
    """Whether all rows have the tensors of a nest of containers in common, within vmap."""
    return torch._C._functorch.maybe_current_level() is not None and not any(map(has_rows, taken_apart(tree)[1]))


def only_tensors(tree: Any) -> bool:
    """Whether a nest of containers holds nothing but tensors."""
    if isinstance(tree, Mapping):
        return all(map(only_tensors, tree.values()))
    return all(map(only_tensors, tree)) if isinstance(tree, (list, tuple)) else isinstance(tree, Tensor)
