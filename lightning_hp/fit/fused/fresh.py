"""New tensors that a step goes on to write into, such as a decoder's outputs or a sum over layers.

Within vmap a new tensor is the same for all rows, and has no room for what each row would write into it. To make one for each
row takes memory and time, so it is done only in steps that could not be vectorized without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_hp.fit.fused.trees import has_rows

_MAKING = frozenset(
    {torch.zeros, torch.ones, torch.full, torch.empty, torch.clone, Tensor.clone}
    | {torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like}
    | {Tensor.new_zeros, Tensor.new_ones, Tensor.new_full, Tensor.new_empty}
)
# What vmap and torch say where a row's values are written into a tensor of all.
_WORDS = ("vmap: inplace", "doesn't match the broadcast shape")


def writes_into_fresh(error: BaseException) -> bool:
    """Whether a step has failed for want of rows to write into."""
    return any(words in str(error) for words in _WORDS)


class FreshRows(TorchFunctionMode):
    """Has new tensors be each row's own.

    Args:
        like: any tensor that is.
    """

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self._each = torch.ones_like(like.detach().flatten()[0], dtype=torch.bool)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _MAKING and made.device == self._each.device and not has_rows(made):
            return torch.where(self._each, made, made)
        return made
