"""A trial's own copy of what all trials are given, data and modules: what one trial changes in it, no other sees."""

from __future__ import annotations

import copy
import dis
import io
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import nn

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


def own_factory(factory: Callable[..., Any]) -> Callable[..., Any]:
    """A factory that has copies of what a model may take over from it.

    That is a partial's arguments, and the modules that a function itself names: in its closure, or beside it in its script.

    >>> teacher = nn.Linear(2, 2)
    >>> own_factory(lambda: teacher)() is teacher
    False
    """
    if isinstance(factory, partial):
        return copy.deepcopy(factory)
    if not isinstance(factory, FunctionType):
        return factory
    known: dict[int, Any] = {}
    cells = tuple(_own_cell(cell, known) for cell in factory.__closure__ or ())
    named = {name: factory.__globals__.get(name) for name in _names(factory.__code__)}
    modules = {name: value for name, value in named.items() if isinstance(value, nn.Module)}
    own_modules = {}
    if modules and not _sets_globals(factory.__code__):
        own_modules = {name: _own_module(module, known) for name, module in modules.items()}
    if not known:
        return factory
    names = {**factory.__globals__, **own_modules} if own_modules else factory.__globals__
    own = FunctionType(factory.__code__, names, factory.__name__, factory.__defaults__, cells)
    own.__kwdefaults__ = factory.__kwdefaults__
    return own


def _own_cell(cell: CellType, known: dict[int, Any]) -> CellType:
    try:
        content = cell.cell_contents
    except ValueError:
        # Empty yet.
        return cell
    return CellType(_own_module(content, known)) if isinstance(content, nn.Module) else cell


def _own_module(module: nn.Module, known: dict[int, Any]) -> nn.Module:
    try:
        return copy.deepcopy(module, known)
    except Exception:
        # One that torch cannot copy is every trial's, as the function says.
        return module


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _sets_globals(code: CodeType) -> bool:
    """Whether a function changes the variables of its script, which then have to be the very same."""
    inner = any(_sets_globals(each) for each in code.co_consts if isinstance(each, CodeType))
    return inner or any(each.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") for each in dis.get_instructions(code))


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
