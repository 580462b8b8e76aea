"""Functions of torch that take a number, for a number that is each row's own: a slope, a margin, what a tensor is filled with.

Each gives NotImplemented where its numbers are the same for all rows, and torch's own can be called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce, wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lightning_hp.fit.fused.numbers import tensor_of


def leaky_relu(input: Tensor, negative_slope: Any = 0.01, inplace: bool = False) -> Any:
    if not isinstance(negative_slope, Tensor):
        return NotImplemented
    return torch.where(input > 0, input, input * negative_slope)


def elu(input: Tensor, alpha: Any = 1.0, inplace: bool = False) -> Any:
    # The part below zero alone, since the other overflows.
    return torch.where(input > 0, input, alpha * input.clamp(max=0).expm1()) if isinstance(alpha, Tensor) else NotImplemented


def celu(input: Tensor, alpha: Any = 1.0, inplace: bool = False) -> Any:
    if not isinstance(alpha, Tensor):
        return NotImplemented
    return torch.where(input > 0, input, alpha * (input.clamp(max=0) / alpha).expm1())


def softplus(input: Tensor, beta: Any = 1.0, threshold: Any = 20.0) -> Any:
    if not isinstance(beta, Tensor) and not isinstance(threshold, Tensor):
        return NotImplemented
    scaled = input * beta
    return torch.where(scaled > threshold, input, functional.softplus(scaled) / beta)


def hardtanh(input: Tensor, min_val: Any = -1.0, max_val: Any = 1.0, inplace: bool = False) -> Any:
    if not isinstance(min_val, Tensor) and not isinstance(max_val, Tensor):
        return NotImplemented
    return input.clamp(min_val, max_val)


def huber(input: Tensor, target: Tensor, delta: Any) -> Any:
    off = (input - target).abs()
    return torch.where(off <= delta, 0.5 * off**2, delta * (off - 0.5 * delta))


def smooth_l1(input: Tensor, target: Tensor, beta: Any) -> Any:
    off = (input - target).abs()
    # Where it is 0, all is as far off as the linear part begins.
    return torch.where(off < beta, 0.5 * off**2 / beta.clamp(min=torch.finfo(beta.dtype).tiny), off - 0.5 * beta)


def _loss(number: str, of_elements: Callable[..., Any], torchs: Callable[..., Any]) -> Callable[..., Any]:
    """A loss of two tensors and a number."""

    @wraps(torchs)
    def loss(input: Tensor, target: Tensor, *args: Any, reduction: str = "mean", weight: Any = None, **keywords: Any) -> Any:
        value = keywords.pop(number, None)
        # By place no module gives its arguments.
        if args or _is_torchs(value, *keywords.values()):
            return NotImplemented
        found = of_elements(*torch.broadcast_tensors(input, target), value)  # type: ignore[no-untyped-call]
        return _reduced(found if weight is None else found * weight, reduction)

    return loss


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: Any = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    if _is_torchs(margin, size_average, reduce):
        return NotImplemented
    return _reduced((margin - target * (input1 - input2)).clamp(min=0), reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: Any = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    if _is_torchs(margin, size_average, reduce):
        return NotImplemented
    near = functional.pairwise_distance(anchor, positive, p, eps)
    far = functional.pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = torch.minimum(far, functional.pairwise_distance(positive, negative, p, eps))
    return _reduced((margin + near - far).clamp(min=0), reduction)


def full(size: Any, fill_value: Any, *, dtype: torch.dtype | None = None, **keywords: Any) -> Any:
    if not isinstance(fill_value, Tensor):
        return NotImplemented
    dtype = dtype or _dtype_of([fill_value])
    return torch.ones(size, dtype=dtype, **keywords) * tensor_of(fill_value).to(dtype)


def full_like(input: Tensor, fill_value: Any, **keywords: Any) -> Any:
    if not isinstance(fill_value, Tensor):
        return NotImplemented
    made = torch.ones_like(input, **keywords)
    return made * tensor_of(fill_value).to(made.dtype)


def tensor(data: Any, *, dtype: torch.dtype | None = None, device: Any = None, **keywords: Any) -> Any:
    if not isinstance(data, (list, tuple)) or not any(isinstance(each, Tensor) for each in data):
        return NotImplemented
    numbers = [torch.as_tensor(tensor_of(each), device=device) for each in data]
    dtype = dtype or _dtype_of(numbers)
    return torch.stack([number.to(dtype) for number in numbers])


def _is_torchs(number: Any, *given_up: Any) -> bool:
    """Whether a loss is for torch itself: its number is the same for all rows, or an argument is used that was given up."""
    return not isinstance(number, Tensor) or any(each is not None for each in given_up)


def _dtype_of(numbers: Sequence[Tensor]) -> torch.dtype:
    """What torch makes of such numbers."""
    common = reduce(torch.promote_types, (number.dtype for number in numbers))
    return torch.get_default_dtype() if common.is_floating_point else common


def _reduced(values: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return values
    return values.mean() if reduction == "mean" else values.sum()


BY_NUMBER: dict[Any, Callable[..., Any]] = {
    functional.leaky_relu: leaky_relu,
    functional.elu: elu,
    functional.celu: celu,
    functional.softplus: softplus,
    functional.hardtanh: hardtanh,
    functional.huber_loss: _loss("delta", huber, functional.huber_loss),
    functional.smooth_l1_loss: _loss("beta", smooth_l1, functional.smooth_l1_loss),
    functional.margin_ranking_loss: margin_ranking_loss,
    functional.triplet_margin_loss: triplet_margin_loss,
    torch.full: full,
    torch.full_like: full_like,
    torch.tensor: tensor,
}
