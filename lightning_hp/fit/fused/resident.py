"""Copies of small data sets on the device that trains, so that no batch has to be brought there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

# Of all copies together, in bytes. Larger data are left to the host, and the memory to the models.
LARGEST = 2**30


def free_memory(device: torch.device) -> int:
    """Of a CUDA device, in bytes."""
    return torch.cuda.mem_get_info(device)[0]


class Resident:
    """Data sets' tensors on a device, copied when first asked for.

    A data set that is edited while it is in use is no longer taken from its copy, which would not show the edit. Edits change a
    tensor's version, by which they are known; but for those through numpy or ``tensor.data``.

    Args:
        device: where to copy to.
        free: says how much memory there is.

    Attributes:
        wanted: whether batches are to be taken from the copies now.
    """

    def __init__(self, device: torch.device, free: Callable[[torch.device], int] = free_memory) -> None:
        self.wanted = False
        self._device = device
        self._free = free
        # The copies live as long as what they are of.
        self._kept: WeakKeyDictionary[TensorDataset, _Kept | None] = WeakKeyDictionary()

    def of(self, dataset: TensorDataset) -> list[Tensor] | None:
        """The copies of a data set's tensors; None if there is no room for them, or they are no longer the same."""
        if dataset not in self._kept:
            self._kept[dataset] = self._copied(dataset.tensors)
        kept = self._kept[dataset]
        if kept is None:
            return None
        if not kept.stands_for(dataset.tensors):
            self._kept[dataset] = None
            return None
        return kept.copies

    def _copied(self, tensors: tuple[Tensor, ...]) -> _Kept | None:
        # Of tensors made in inference mode no edit would be known.
        if any(tensor.device.type != "cpu" or tensor.is_inference() for tensor in tensors):
            return None
        size = _size(tensors)
        before = sum(_size(kept.copies) for kept in self._kept.values() if kept is not None)
        if before + size > LARGEST or 4 * size > self._free(self._device):
            return None
        versions = [tensor._version for tensor in tensors]
        return _Kept(list(tensors), versions, [tensor.to(self._device, copy=True) for tensor in tensors])


@dataclass(frozen=True)
class _Kept:
    """Copies of tensors as they were."""

    tensors: list[Tensor]
    versions: list[int]
    copies: list[Tensor]

    def stands_for(self, tensors: tuple[Tensor, ...]) -> bool:
        return len(tensors) == len(self.tensors) and all(
            tensor is known and tensor._version == version
            for tensor, known, version in zip(tensors, self.tensors, self.versions, strict=True)
        )


def _size(tensors: list[Tensor] | tuple[Tensor, ...]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
