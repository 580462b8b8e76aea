"""A trial's own copy of data that all trials are given: what one trial changes in it, no other sees."""

from __future__ import annotations

import copy
import io
import pickle
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch import Trainer

T = TypeVar("T")
# What is large, or is code, or belongs to another fit.
_SHARED = (torch.Tensor, np.ndarray, bytes, type, FunctionType, ModuleType, Trainer)


def own_copy(instance: T) -> T:
    """A copy as a worker process would be sent one, except that tensors and arrays are shared.

    Of what cannot be sent, because of a lock or an open file in it, only the attributes are the copy's own.

    >>> counts, pixels = {"epochs": 1}, np.zeros(1000)
    >>> own_counts, own_pixels = own_copy((counts, pixels))
    >>> own_counts is counts, own_pixels is pixels
    (False, True)
    """
    file, shared, buffers = io.BytesIO(), list[Any](), list[pickle.PickleBuffer]()
    try:
        _Pickler(file, shared, buffers).dump(instance)
        file.seek(0)
        copied: T = _Unpickler(file, shared, buffers).load()
    except Exception:
        # Anything may be raised by the objects' own ways of being pickled.
        return copy.copy(instance)
    return copied


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, shared: list[Any], buffers: list[pickle.PickleBuffer]) -> None:
        # Large tables of other libraries hand out their memory, and get it back.
        super().__init__(file, protocol=5, buffer_callback=buffers.append)
        self.shared = shared

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, _SHARED):
            return None
        self.shared.append(obj)
        return len(self.shared) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, shared: list[Any], buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(file, buffers=buffers)
        self.shared = shared

    def persistent_load(self, pid: Any) -> Any:
        return self.shared[pid]
