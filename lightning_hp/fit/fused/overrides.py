"""Operations that torch.func.vmap does not take as they are, in forms that it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lightning_hp.fit.fused.attention import attention, multi_head_attention
from lightning_hp.fit.fused.autocast import autocast
from lightning_hp.fit.fused.by_number import BY_NUMBER
from lightning_hp.fit.fused.dropout import dropout
from lightning_hp.fit.fused.indexing import index_select, scatter_add, scatter_add_
from lightning_hp.fit.fused.numbers import Number, tensor_of
from lightning_hp.fit.fused.recurrent import gru, lstm, rnn_relu, rnn_tanh
from lightning_hp.fit.fused.trees import has_rows


class Vectorizable(TorchFunctionMode):
    """Runs some operations of a step in another form, with the same result for each row.

    - dropout and label smoothing take a probability of each row's own, and so do others that take a number;
    - attention is done for all rows at once, recurrent networks as loops over time;
    - ``torch.bincount``, and ``tensor[mask] = number``, as torchmetrics use them, have forms without data-dependent shapes;
    - rows are taken by an index, and summed up by one, for all rows at once where the index is the same for all;
    - a new tensor that is filled with random numbers, as torch.distributions do, gets each row's own;
    - ``embedding_bag`` of bags of equal size, and ``weight_norm``, would be done row by row;
    - ``torch.as_tensor`` and ``torch.broadcast_tensors``, as torch.distributions use them, give tensors for numbers;
    - ``normalize(out=)``, as spectral_norm uses it, copies;
    - with torch.autocast, they are in the same precision as without vmap.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return autocast(func, partial(_run, func), args, kwargs or {})


def _run(func: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    replacement = _REPLACEMENTS.get(func)
    if replacement is not None:
        replaced = replacement(*args, **keywords)
        if replaced is not NotImplemented:
            return replaced
    return func(*args, **keywords)


def _cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: Any = 0.0,
) -> Any:
    if not isinstance(label_smoothing, Tensor):
        return NotImplemented
    arguments = (input, target, weight, size_average, ignore_index, reduce, reduction)
    sharp = functional.cross_entropy(*arguments)
    smooth = functional.cross_entropy(*arguments, label_smoothing=1.0)
    return sharp * (1 - label_smoothing) + smooth * label_smoothing


def _normal_(input: Tensor, mean: float = 0, std: float = 1, *, generator: torch.Generator | None = None) -> Any:
    if not _is_fillable(input, generator):
        return NotImplemented
    return _instead_of(input, torch.randn_like(input) * std + mean)


def _uniform_(input: Tensor, from_: float = 0, to: float = 1, *, generator: torch.Generator | None = None, **low: float) -> Any:
    if not _is_fillable(input, generator):
        return NotImplemented
    from_ = low.get("from", from_)
    return _instead_of(input, torch.rand_like(input) * (to - from_) + from_)


def _is_fillable(input: Tensor, generator: torch.Generator | None) -> bool:
    return generator is None and input.is_floating_point() and not has_rows(input)


def _instead_of(input: Tensor, drawn: Tensor) -> Tensor:
    """What an operation in place gives. The tensor itself has no room for it: whoever reads it after all is found out."""
    input.fill_(torch.nan)
    return drawn


def _bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Any:
    if weights is not None or minlength == 0:
        return NotImplemented
    return (input.unsqueeze(-1) == torch.arange(minlength, device=input.device)).sum(0)


def _setitem(tensor: Tensor, index: Any, value: Any) -> Any:
    if isinstance(index, Tensor) and index.dtype == torch.bool and isinstance(value, (int, float)):
        tensor.masked_fill_(index, value)
        return None
    return NotImplemented


def _as_tensor(data: Any, **keywords: Any) -> Any:
    return torch.as_tensor(tensor_of(data), **keywords) if isinstance(data, Number) else NotImplemented


def _broadcast_tensors(*tensors: Any) -> Any:
    return torch.broadcast_tensors(*map(tensor_of, tensors))  # type: ignore[no-untyped-call]


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    if input.dim() != 2 or max_norm is not None or scale_grad_by_freq or sparse or mode == "max":
        return NotImplemented
    shares = torch.ones_like(input, dtype=weight.dtype) if per_sample_weights is None else per_sample_weights
    if padding_idx is not None:
        shares = shares * (input != padding_idx % len(weight))
    if mode == "mean":
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1)
    return (functional.embedding(input, weight) * shares.unsqueeze(-1)).sum(1)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Any:
    others = [each for each in range(v.dim()) if each != dim]
    return v * (g / (v.norm() if dim == -1 else v.norm(dim=others, keepdim=True)))


def _normalize(input: Tensor, *args: Any, out: Tensor | None = None, **keywords: Any) -> Any:
    return NotImplemented if out is None else out.copy_(functional.normalize(input, *args, **keywords))


_REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    functional.dropout: dropout,
    functional.dropout1d: partial(dropout, dims=1),
    functional.dropout2d: partial(dropout, dims=2),
    functional.dropout3d: partial(dropout, dims=3),
    functional.scaled_dot_product_attention: attention,
    functional.multi_head_attention_forward: multi_head_attention,
    torch.lstm: lstm,
    torch.gru: gru,
    torch.rnn_tanh: rnn_tanh,
    torch.rnn_relu: rnn_relu,
    functional.cross_entropy: _cross_entropy,
    Tensor.normal_: _normal_,
    Tensor.uniform_: _uniform_,
    torch.bincount: _bincount,
    Tensor.__setitem__: _setitem,
    functional.embedding_bag: _embedding_bag,
    torch._weight_norm: _weight_norm,
    functional.normalize: _normalize,
    torch.as_tensor: _as_tensor,
    torch.broadcast_tensors: _broadcast_tensors,
    torch.index_select: index_select,
    Tensor.index_select: index_select,
    torch.scatter_add: scatter_add,
    Tensor.scatter_add: scatter_add,
    Tensor.scatter_add_: scatter_add_,
    **BY_NUMBER,
}
