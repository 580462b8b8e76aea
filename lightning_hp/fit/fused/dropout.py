"""Dropout by a probability of each row's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def dropout(input: Tensor, p: Any = 0.5, training: bool = True, inplace: bool = False, dims: int = 0) -> Any:
    """As ``functional.dropout``, for one row; what the last so many dimensions hold is dropped together."""
    if not isinstance(p, Tensor):
        return NotImplemented
    if not training:
        return input
    like = input.flatten(input.dim() - dims)[..., 0] if dims else input
    kept = (torch.rand_like(like) >= p).view(*like.shape, *[1] * dims)
    # All dropped: nothing is left to scale.
    return torch.where(kept, input / (1 - p).clamp(min=torch.finfo(input.dtype).tiny), 0.0)


def dropped(input: Tensor, p: Any, training: bool = True) -> Tensor:
    """The same within another operation, whatever the probability is."""
    replaced = dropout(input, p, training)
    return functional.dropout(input, p, training) if replaced is NotImplemented else replaced
