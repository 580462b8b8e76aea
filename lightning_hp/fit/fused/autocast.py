"""Mixed precision under torch.func.vmap, which takes some operations apart before torch.autocast sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Arguments: TypeAlias = tuple[Any, ...]
Keywords: TypeAlias = Mapping[str, Any]
Run: TypeAlias = Callable[..., Any]


def autocast(func: Run, run: Run, args: Arguments, keywords: Keywords) -> Any:
    """Runs an operation in the precision in which torch.autocast would have it run for one model.

    vmap adds a bias, for one, after the product and in single precision, so that all that follows is in another type than in
    an ordinary step. It rounds otherwise then, and overflows elsewhere.

    Args:
        func: the operation.
        run: does it.
        args: of it.
        keywords: of it.
    """
    policy = _POLICIES.get(func)
    if policy is None:
        return run(*args, **keywords)
    device = next((each.device.type for each in (*args, *keywords.values()) if isinstance(each, Tensor)), "cpu")
    return policy(device, run, args, keywords) if torch.is_autocast_enabled(device) else run(*args, **keywords)


def _half(device: str, run: Run, args: Arguments, keywords: Keywords) -> Any:
    """In half precision."""
    dtype = torch.get_autocast_dtype(device)
    return run(*_cast(args, dtype), **dict(zip(keywords, _cast(keywords.values(), dtype), strict=True)))


def _single(device: str, run: Run, args: Arguments, keywords: Keywords) -> Any:
    """In single precision."""
    return run(*_cast(args, torch.float32), **dict(zip(keywords, _cast(keywords.values(), torch.float32), strict=True)))


def _inside(device: str, run: Run, args: Arguments, keywords: Keywords) -> Any:
    """In single precision with a result in that of the input, as kernels do that take a half input and single weights."""
    if not args or not _is_cast(args[0]):
        return run(*args, **keywords)
    result: Tensor = run(args[0].float(), *args[1:], **keywords)
    return result.to(args[0].dtype)


def _normalized(device: str, run: Run, args: Arguments, keywords: Keywords) -> Any:
    # The lists of what autocast does in which precision are not the same.
    return (_inside if device == "cpu" else _single)(device, run, args, keywords)


def _cast(values: Iterable[Any], dtype: torch.dtype) -> list[Any]:
    return [each.to(dtype) if _is_cast(each) else each for each in values]


def _is_cast(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64


_POLICIES: dict[Any, Callable[[str, Run, Arguments, Keywords], Any]] = {
    **dict.fromkeys((functional.linear, functional.prelu, torch.prelu), _half),
    **dict.fromkeys((functional.conv1d, functional.conv2d, functional.conv3d), _half),
    **dict.fromkeys((functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d), _half),
    **dict.fromkeys((torch.addmm, torch.addbmm, torch.baddbmm), _half),
    **dict.fromkeys((Tensor.addmm, Tensor.addbmm, Tensor.baddbmm), _half),
    **dict.fromkeys((functional.scaled_dot_product_attention, functional.multi_head_attention_forward), _half),
    **dict.fromkeys((functional.cross_entropy, functional.nll_loss, functional.cosine_embedding_loss, torch.cdist), _single),
    functional.binary_cross_entropy_with_logits: _single,
    **dict.fromkeys((functional.batch_norm, functional.instance_norm), _inside),
    **dict.fromkeys((functional.layer_norm, functional.group_norm), _normalized),
}
