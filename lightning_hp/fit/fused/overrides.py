"""Operations that torch.func.vmap does not take as they are, in forms that it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Vectorizable(TorchFunctionMode):
    """Runs some operations of a step in another form, with the same result for each row.

    - dropout and label smoothing take a probability of each row's own;
    - ``torch.bincount``, and ``tensor[mask] = number``, as torchmetrics use them, have forms without data-dependent shapes;
    - ``normalize(out=)``, as spectral_norm uses it, copies.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        replacement = _REPLACEMENTS.get(func)
        if replacement is not None:
            replaced = replacement(*args, **keywords)
            if replaced is not NotImplemented:
                return replaced
        return func(*args, **keywords)


def _dropout(input: Tensor, p: Any = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if not isinstance(p, Tensor):
        return NotImplemented
    if not training:
        return input
    kept = torch.rand_like(input) >= p
    # All dropped: nothing is left to scale.
    return torch.where(kept, input / (1 - p).clamp(min=torch.finfo(input.dtype).tiny), 0.0)


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


def _bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Any:
    if weights is not None or minlength == 0:
        return NotImplemented
    return (input.unsqueeze(-1) == torch.arange(minlength, device=input.device)).sum(0)


def _setitem(tensor: Tensor, index: Any, value: Any) -> Any:
    if isinstance(index, Tensor) and index.dtype == torch.bool and isinstance(value, (int, float)):
        tensor.masked_fill_(index, value)
        return None
    return NotImplemented


def _normalize(input: Tensor, *args: Any, out: Tensor | None = None, **keywords: Any) -> Any:
    return NotImplemented if out is None else out.copy_(functional.normalize(input, *args, **keywords))


_REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    functional.dropout: _dropout,
    functional.cross_entropy: _cross_entropy,
    torch.bincount: _bincount,
    Tensor.__setitem__: _setitem,
    functional.normalize: _normalize,
}
