"""Attention for all rows at once: torch's own has no batching rule, and vmap would do it row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lightning_hp.fit.fused.dropout import dropped
from lightning_hp.fit.fused.trees import in_common

# Up to so many pairs of positions, the formula itself is faster on a CPU than torch's kernels, which go by blocks.
SHORT = 1024


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: Any = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """As ``functional.scaled_dot_product_attention``, for one row."""
    once = in_common((query, key, value, attn_mask, dropout_p))
    if once and enable_gqa and dropout_p:
        raise NotImplementedError("attention would drop the same for all rows")
    if enable_gqa or (once and not dropout_p):
        return NotImplemented
    short = query.device.type == "cpu" and query.shape[-2] * key.shape[-2] <= SHORT
    # torch's own would drop the same for all rows.
    if short or once or isinstance(dropout_p, Tensor):
        return _formula(query, key, value, attn_mask, dropout_p, is_causal, scale)
    return _Folded.apply(query, key, value, attn_mask, dropout_p, is_causal, scale)  # type: ignore[no-untyped-call]


def _formula(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout_p: Any,
    is_causal: bool,
    scale: float | None,
) -> Tensor:
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if mask is not None:
        scores = scores + (torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -math.inf) if _is_bool(mask) else mask)
    return dropped(scores.softmax(-1), dropout_p, True) @ value


def _is_bool(mask: Tensor) -> bool:
    return mask.dtype == torch.bool


class _Folded(torch.autograd.Function):
    """The rows join the batch, and torch's own does them all."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *options: Any) -> Tensor:
        return _torchs(query, key, value, mask, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to keep: the derivative is that of what `vmap` does."""

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *options: Any
    ) -> tuple[Tensor, int]:
        rows = info.batch_size
        query, key, value = (
            tensor.expand(rows, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((query, key, value), in_dims, strict=False)
        )
        if mask is not None and (in_dims[3] is not None or mask.dim() > 2):
            mask = mask.unsqueeze(0) if in_dims[3] is None else mask.movedim(in_dims[3], 0)
            mask = mask.view(mask.shape[0], *[1] * (query.dim() - mask.dim()), *mask.shape[1:])
            mask = _folded(mask.expand(*query.shape[:-1], key.shape[-2]))
        output = _torchs(_folded(query), _folded(key), _folded(value), mask, *options)
        return output.view(*query.shape[:-1], value.shape[-1]), 0


def _torchs(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *options: Any) -> Tensor:
    dropout_p, is_causal, scale = options
    return functional.scaled_dot_product_attention(query, key, value, mask, dropout_p, is_causal, scale=scale)


def _folded(tensor: Tensor) -> Tensor:
    """With the four dimensions that torch's kernels take."""
    return tensor.flatten(0, max(tensor.dim() - 4, 0))


def _attended(*args: Any, **keywords: Any) -> Any:
    found = attention(*args, **keywords)
    return functional.scaled_dot_product_attention(*args, **keywords) if found is NotImplemented else found


_theirs = functional.multi_head_attention_forward
# ``functional.multi_head_attention_forward`` with the attention of this module in it.
multi_head_attention = FunctionType(
    _theirs.__code__,
    {**vars(functional), "scaled_dot_product_attention": _attended, "dropout": dropped},
    _theirs.__name__,
    _theirs.__defaults__,
)
