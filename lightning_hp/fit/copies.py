"""Copies of tensors that take no memory of their own until somebody writes to them, as the pages of a forked process do.

torch has them for strided tensors on a CPU or a CUDA device: whatever writes to one of them, by whichever name it goes, gets it
memory of its own first, and the others stay as they are. To ask such a tensor for its ``data_ptr`` counts as writing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# torch promises none of these names, and a version may come without them.
_KNOWN = hasattr(Tensor, "_lazy_clone") and all(hasattr(torch._C, name) for name in ("_is_cow_tensor", "_data_address"))


def possible(tensor: Tensor) -> bool:
    """Whether there can be lazy copies of a tensor."""
    plain = type(tensor) in (Tensor, nn.Parameter)
    return _KNOWN and plain and tensor.layout is torch.strided and tensor.device.type in ("cpu", "cuda")


def lazy_copy(tensor: Tensor) -> Tensor:
    """A copy without memory of its own; an ordinary one of a view, or of memory that is not torch's, such as an array's."""
    if not (_KNOWN and _is_whole(tensor)):
        return tensor.detach().clone()
    try:
        return tensor.detach()._lazy_clone()
    except RuntimeError:
        return tensor.detach().clone()


def is_lazy(tensor: Tensor) -> bool:
    """Whether others may have the same memory, and it gets memory of its own where it is written to."""
    return _KNOWN and bool(torch._C._is_cow_tensor(tensor))  # type: ignore[attr-defined]


def address(tensor: Tensor) -> int:
    """Where a tensor begins, without getting it memory of its own."""
    if not _KNOWN:
        return tensor.data_ptr()
    beginning: int = torch._C._data_address(tensor)  # type: ignore[attr-defined]
    # That is where its storage begins.
    return beginning + int(tensor.storage_offset()) * tensor.element_size()


def place(tensor: Tensor) -> tuple[object, ...]:
    """What is the same for a tensor and its views of the same kind, and for no other tensor."""
    return address(tensor), tensor.dtype, tensor.shape, tensor.stride()


def same(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors are of the same kind and have the same values."""
    first = tensors[0]
    return all(_kind(each) == _kind(first) and (_is(each, first) or torch.equal(each, first)) for each in tensors[1:])


def apart(tensor: Tensor) -> Tensor:
    """A copy that stands for itself in a file, where a view would take along all that it is a view of."""
    return lazy_copy(tensor) if possible(tensor) and is_lazy(tensor) else tensor.clone()


def hold_once(model: nn.Module, other: nn.Module) -> None:
    """Has a model's tensors that are as another's, such as the weights of a pretrained part, in the same memory.

    >>> one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> _ = other.load_state_dict(one.state_dict())
    >>> hold_once(other, one)
    >>> address(other.weight) == address(one.weight)
    True
    >>> _ = other.weight.data.zero_()
    >>> bool(one.weight.any())
    True
    """
    others = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        like = others.get(name)
        if like is None or like is tensor or not (possible(tensor) and possible(like) and _is_whole(like)):
            continue
        if same([like, tensor]):
            tensor.data = lazy_copy(like)


def _is_whole(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() == tensor.nbytes


def _is(one: Tensor, other: Tensor) -> bool:
    return address(one) == address(other) and one.stride() == other.stride()


def _kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.dtype, tensor.device
