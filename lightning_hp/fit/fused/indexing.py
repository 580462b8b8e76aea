"""Rows taken by an index and summed up by one, as message passing on graphs does, for all models at once.

Where the index is the same for all, vmap would have a copy of it for each model and feature. Here the models' rows lie side by
side, and torch's own takes and sums them whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_hp.fit.fused.trees import has_rows


def index_select(input: Tensor, dim: int, index: Tensor) -> Any:
    """As ``torch.index_select``, for one model."""
    if dim not in (0, -input.dim()) or has_rows(index) or not has_rows(input):
        return NotImplemented
    return _Beside.apply(input, index, Tensor.index_select)  # type: ignore[no-untyped-call]


def scatter_add_(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Any:
    """As ``Tensor.scatter_add_``, for one model."""
    return _scatter_add(input, dim, index, src, Tensor.add_) if has_rows(input) else NotImplemented


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Any:
    """As ``torch.scatter_add``, for one model."""
    return _scatter_add(input, dim, index, src, Tensor.add)


def _scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor, add: Callable[[Tensor, Tensor], Tensor]) -> Any:
    if dim not in (0, -input.dim()) or has_rows(index) or not (has_rows(src) and _of_whole_rows(input, index, src)):
        return NotImplemented
    places, size = index if index.dim() == 1 else index.flatten(1)[:, 0], len(input)

    def summed(rows: Tensor, _: int, index: Tensor) -> Tensor:
        return rows.new_zeros(size, *rows.shape[1:]).index_add(0, index, rows)

    return add(input, _Beside.apply(src, places, summed))  # type: ignore[no-untyped-call]


def _of_whole_rows(input: Tensor, index: Tensor, src: Tensor) -> bool:
    """Whether each of the rows goes to one place, by an index that has been expanded."""
    expanded = all(step == 0 or size == 1 for step, size in zip(index.stride()[1:], index.shape[1:], strict=True))
    return expanded and index.numel() > 0 and index.shape == src.shape and src.shape[1:] == input.shape[1:]


class _Beside(torch.autograd.Function):
    """Does something with rows by an index; those of all models lie side by side."""

    @staticmethod
    def forward(input: Tensor, index: Tensor, do: Callable[[Tensor, int, Tensor], Tensor]) -> Tensor:
        return do(input, 0, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to keep: the derivative is that of what `vmap` does."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None, None], input: Tensor, index: Tensor, do: Callable[[Tensor, int, Tensor], Tensor]
    ) -> tuple[Tensor, int]:
        beside = input.movedim(in_dims[0], 1)
        done = do(beside.flatten(1), 0, index)
        return done.view(len(done), *beside.shape[1:]), 1
