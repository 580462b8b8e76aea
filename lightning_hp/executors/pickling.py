"""How multiprocessing pickles in a worker: with what the user's script defines, which has no module to be imported from.

In the user's own process the script is `__main__`. In a worker it is not, so that a loader's worker could not be sent a
dataset of the script's, and could not send back a batch of a class of the script's: it would be waited for for ever.
"""

from __future__ import annotations

import io
import pickle
from collections import ChainMap
from functools import lru_cache
from multiprocessing import reduction
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from lightning_hp.executors import by_value

# Batches are many, their classes few.
_parcels: WeakKeyDictionary[Any, bytes] = WeakKeyDictionary()


def send_by_value() -> None:
    """Has this process, and all that multiprocessing starts from it, send each other what cannot be imported by value."""
    reduction.dump = _dump
    ForkingPickler.reducer_override = _reduced  # type: ignore[method-assign, assignment]


class _Pickler(by_value.Pickler):
    """One by value, with the ways of multiprocessing for its own objects and of torch for tensors."""

    def __init__(self, file: Any, protocol: int | None = None) -> None:
        # It is looked up once, in there.
        table: Any = ForkingPickler(io.BytesIO()).dispatch_table
        self.dispatch_table = ChainMap(table, by_value.Pickler.dispatch_table)
        super().__init__(file, protocol)


def _dump(obj: Any, file: Any, protocol: int | None = None) -> None:
    # All at once: functions that share a global go on sharing it.
    _Pickler(file, protocol).dump(_Departing(obj) if isinstance(obj, BaseProcess) else obj)


class _Departing:
    def __init__(self, process: BaseProcess) -> None:
        self.process = process

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.process,)


def _arrived(process: BaseProcess) -> BaseProcess:
    send_by_value()
    return process


def _reduced(pickler: ForkingPickler, obj: Any) -> Any:
    """What goes through a queue or a pipe: nothing but classes and functions needs another way than pickle's."""
    if not isinstance(obj, (type, FunctionType)) or _can_be_imported(obj):
        return NotImplemented
    if obj not in _parcels:
        _parcels[obj] = by_value.dumps(obj)
    return _unpacked, (_parcels[obj],)


def _can_be_imported(obj: Any) -> bool:
    try:
        pickle.dumps(obj)
    except (pickle.PicklingError, AttributeError):
        return False
    return True


# Loading a class anew resets what it holds.
@lru_cache
def _unpacked(parcel: bytes) -> Any:
    return pickle.loads(parcel)
