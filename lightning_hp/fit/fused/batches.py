"""Batches of data sets that are tensors already: taken from them at once, where a loader would stack them sample by sample.

They are what the loader itself would give, in the same order and with the same draws of random numbers. Its samplers and its
generators do their work as before; only what comes of a batch's indices is made another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, default_collate
from torch.utils.data._utils.collate import collate_tensor_fn, default_collate_fn_map

from lightning_hp.fit.fused.resident import Resident


def taken_at_once(loader: Any, resident: Resident | None = None) -> Any:
    """A loader that takes its batches at once, in the place of another.

    Args:
        loader: stays as it is.
        resident: copies of data sets on a device, to take batches from.

    Returns:
        The loader itself, if it is of a class of its own, has workers, or collates in its own way, or if its data set is more
        than tensors.

    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> loader = taken_at_once(DataLoader(TensorDataset(torch.arange(4) * 10), batch_size=3))
    >>> list(loader)
    [[tensor([ 0, 10, 20])], [tensor([30])]]
    """
    if type(loader) is not DataLoader or loader.num_workers > 0 or _rows(loader, resident) is None:
        return loader
    return _like(loader, _AtOnce, resident=resident)


class _AtOnce(DataLoader[Any]):
    """To others the loader that it is made of; only its iterators are not the same."""

    resident: Resident | None = None

    def __iter__(self) -> Any:
        # The user may have changed the data set since the last epoch.
        rows = _rows(self, self.resident)
        if rows is None:
            return super().__iter__()
        # What is on the device already cannot be pinned.
        pinned = self.pin_memory and (self.resident is None or self.resident.of(rows.data) is None)
        return iter(_like(self, DataLoader, dataset=rows, collate_fn=_as_it_is, pin_memory=pinned))


def _like(loader: DataLoader[Any], kind: type[DataLoader[Any]], **changes: Any) -> DataLoader[Any]:
    """A loader with the samplers and generators of another."""
    # Neither its class nor some of its attributes can be changed the ordinary way.
    made = kind.__new__(kind)
    vars(made).update({**vars(loader), **changes})
    return made


def _as_it_is(batch: Any) -> Any:
    return batch


@dataclass(frozen=True)
class _Rows(Dataset[Any]):
    """A data set that gives whole batches.

    Attributes:
        dataset: the loader's own.
        subsets: what it is made of, from itself inwards.
        data: what they are subsets of.
        resident: where there may be copies of that.
    """

    dataset: Dataset[Any]
    subsets: tuple[Subset[Any], ...]
    data: TensorDataset
    resident: Resident | None

    def __getitems__(self, indices: Iterable[Any]) -> Any:
        asked = rows = list(indices)
        for subset in self.subsets:
            rows = [subset.indices[row] for row in rows]
        # What else an index may be (negative, a mask, out of bounds) is for the data set itself to say.
        if not rows or not _NUMBERS.issuperset(map(type, rows)) or min(rows) < 0 or max(rows) >= len(self.data):
            return default_collate([self.dataset[index] for index in asked])
        copies = self.resident.of(self.data) if self.resident is not None and self.resident.wanted else None
        return _taken(copies or self.data.tensors, torch.from_numpy(np.array(rows, dtype=np.int64)))


_NUMBERS = {int, np.int32, np.int64}


def _taken(tensors: Iterable[Tensor], index: Tensor) -> list[Tensor]:
    taken, there = [], index
    for tensor in tensors:
        if there.device != tensor.device:
            # Else it would wait for all that the device still has to do.
            there = index.to(tensor.device, non_blocking=True)
        taken.append(tensor.index_select(0, there))
    return taken


def _rows(loader: DataLoader[Any], resident: Resident | None) -> _Rows | None:
    """A loader's data set as one that gives whole batches; None if it may give other samples or collates them otherwise."""
    if loader.batch_sampler is None or loader.collate_fn is not default_collate or not _collates_as_usual():
        return None
    data, subsets = loader.dataset, []
    while type(data) is Subset:
        subsets.append(data)
        data = data.dataset
    if type(data) is not TensorDataset or not all(map(_plain, data.tensors)):
        return None
    return _Rows(loader.dataset, tuple(subsets), data, resident)


def _collates_as_usual() -> bool:
    """Whether nobody has registered another way to collate tuples or tensors."""
    return default_collate_fn_map.get(Tensor) is collate_tensor_fn and tuple not in default_collate_fn_map


def _plain(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.layout is torch.strided and tensor.dtype in _DTYPES and not tensor.requires_grad


_DTYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
}
