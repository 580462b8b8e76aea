"""The plain values in a module, by where they are, and what has become of them since."""

from __future__ import annotations

import copy
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeAlias

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.utils import parametrize
from torchmetrics import Metric, MetricCollection

from lightning_hp.fit import copies
from lightning_hp.fit.fused.trees import has_rows

# Where a value is: the module's name, its attribute, then keys, indices and attributes within that.
Path: TypeAlias = tuple[Any, ...]

# What nn.Module, LightningModule and nn.RNNBase keep for themselves.
_INTERNAL = frozenset(
    {
        *vars(nn.Module()),
        *("_trainer", "_fabric", "_fabric_optimizers", "_hparams_initial", "_hparams_name", "_log_hyperparams", "_device"),
        *("_current_fx_name", "_param_requires_grad_state", "_metric_attributes", "_compiler_ctx", "_jit_is_scripting"),
        *("_example_input_array", "_automatic_optimization", "prepare_data_per_node", "_dtype", "_strict_loading"),
        *("_flat_weights", "_flat_weight_refs"),
    }
)
# How far down in containers is looked.
DEEPEST = 8


class _Mark:
    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


MISSING = _Mark("missing")
# The key under which a container's size is a value of its own, or its keys are; below it, what a module holds that is no part.
SIZE = _Mark("#")


def attributes(model: nn.Module) -> Iterator[tuple[Path, Any]]:
    """What a module and its parts keep in attributes, besides what torch, Lightning and torchmetrics keep there."""
    yield from _attributes(model.named_modules())


def _attributes(modules: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[Path, Any]]:
    for name, module in modules:
        for key, value in vars(module).items():
            if key not in _INTERNAL and not _is_of_metric(module, key, value):
                yield (name, key), value


def state(model: nn.Module) -> dict[Path, Any]:
    """All plain values in a module and its parts, by where they are; tensors registered with it excepted.

    Of a module that is no part, such as one in a list, tensors are such values, too.
    """
    # Some keep them in a list as well.
    registered = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    return {path: value for path, value in _found(model).items() if id(value) not in registered}


def aliases(model: nn.Module) -> dict[Path, tuple[str, Tensor]]:
    """Where a module keeps a parameter that trains once more, or what is in its memory: the parameter's name, and that."""
    # By their storages.
    trained = {
        parameter.untyped_storage()._cdata: name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and copies.possible(parameter)
    }
    tensors = ((path, value) for path, value in _found(model).items() if isinstance(value, Tensor) and copies.possible(value))
    found = [(path, trained.get(tensor.untyped_storage()._cdata), tensor) for path, tensor in tensors]
    return {path: (name, tensor) for path, name, tensor in found if name is not None}


def _found(model: nn.Module) -> dict[Path, Any]:
    found: dict[Path, Any] = {}
    modules = list(model.named_modules())
    for name, module in modules:
        # A parametrized module has a class of its own, made of the true one; its parametrizations are parts like others.
        parametrized = parametrize.is_parametrized(module)
        found[name, "__class__"] = type(module).__base__ if parametrized else type(module)
    seen = {id(module) for _, module in modules}
    for path, value in _attributes(modules):
        _walk(value, path, found, seen)
    return found


def kept(values: Mapping[Path, Any]) -> dict[Path, Any]:
    """A state that stays, also where what it holds is changed in place."""
    return {path: _kept(value) for path, value in values.items()}


def _kept(value: Any) -> Any:
    if isinstance(value, Tensor) and not has_rows(value):
        return copies.lazy_copy(value) if copies.possible(value) else value.detach().clone()
    return copy.copy(value) if isinstance(value, (np.ndarray, set)) else value


def leaves(value: Any) -> dict[Path, Any]:
    """The plain values in a nest of containers, by where they are."""
    found: dict[Path, Any] = {}
    _walk(value, (), found, set())
    return found


def changes(before: Mapping[Path, Any], after: Mapping[Path, Any]) -> list[Path]:
    """Where two states of a module differ."""
    differing = (path for path in before.keys() | after.keys() if not same(before.get(path), after.get(path)))
    return sorted(differing, key=str)


def readable(path: Path) -> str:
    """A place as one would write it: ``net.drop.p``."""
    module, *rest = path
    return ".".join(str(part) for part in (module, *rest) if part is not SIZE and part != "")


def _is_of_metric(module: nn.Module, key: str, value: Any) -> bool:
    """Whether it is what torchmetrics keeps for itself."""
    if not isinstance(module, (Metric, MetricCollection)):
        return False
    return key.startswith("_") or key in getattr(module, "_defaults", ()) or callable(value)


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are the same."""
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        # What a step of all rows has left nothing can be done with once that is over.
        if has_rows(one) or has_rows(other):
            return False
        if copies.possible(one) and copies.possible(other):
            return copies.same([one, other])
        return one.shape == other.shape and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if one is MISSING or isinstance(one, (int, float, str, bytes, type)):
        return bool(one == other) or (one != one and other != other)
    try:
        # Functions, partials and objects of the user's: the same if they would be sent to another process as the same.
        return bool(cloudpickle.dumps(one) == cloudpickle.dumps(other))
    except Exception:
        return False


def parts(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """What a container or an object of a user's class holds, with keys, indices or names; None of what is a value itself."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, (list, tuple, deque)):
        return enumerate(value)
    foreign = isinstance(value, (Tensor, nn.Module, Enum)) or type(value).__module__.partition(".")[0] in _FOREIGN
    # Such as a prior: it is its tensors, which two of them have as the same or not.
    foreign = foreign and not isinstance(value, Distribution)
    return None if foreign or not hasattr(value, "__dict__") else vars(value).items()


_FOREIGN = frozenset({"builtins", "functools", "weakref", "torch", "torchmetrics", "torchvision", "lightning", "numpy"})


def _walk(value: Any, path: Path, found: dict[Path, Any], seen: set[int]) -> None:
    """Finds the values in a nest of containers and objects, which may refer to each other in circles."""
    if isinstance(value, nn.Module):
        _walk_module(value, (*path, SIZE), found, seen)
        return
    held = parts(value) if len(path) < DEEPEST else None
    if held is None:
        if not isinstance(value, weakref.ref):
            found[path] = value
        return
    size: Path = (*path, SIZE)
    if isinstance(value, Mapping):
        found[size] = tuple(map(str, value))
    elif isinstance(value, (list, tuple, deque)):
        found[size] = len(value)
    else:
        found[size] = type(value)
        if id(value) in seen:
            return
        seen.add(id(value))
    for key, each in held:
        _walk(each, (*path, key), found, seen)


def _walk_module(module: nn.Module, path: Path, found: dict[Path, Any], seen: set[int]) -> None:
    """Finds what a module holds that is no part of the one that is looked at."""
    modules = [(name, part) for name, part in module.named_modules() if id(part) not in seen]
    if not modules:
        return
    seen.update(id(part) for _, part in modules)
    found[path] = repr([(type(part), part.training) for _, part in modules])
    for name, part in modules:
        for key, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            place: Path = (*path, name, key)
            found[place] = tensor
    for place, value in _attributes(modules):
        _walk(value, (*path, *place), found, seen)


def holder(module: nn.Module, path: Path) -> Any:
    """What holds the value at a place: a module, a container or a plain object."""
    found: Any = module.get_submodule(path[0])
    for key in path[1:-1]:
        found = get(found, key)
    return found


def get(holder: Any, key: Any) -> Any:
    """What a module, a container or a plain object holds."""
    return holder[key] if isinstance(holder, (Mapping, list, tuple, deque)) else vars(holder)[key]


def put(holder: Any, key: Any, value: Any) -> None:
    """Has it hold another value."""
    if isinstance(holder, (Mapping, list, deque)):
        holder[key] = value  # type: ignore[index]
    else:
        vars(holder)[key] = value


def find(module: nn.Module, path: Path) -> Any:
    """The value at a place; `MISSING` if there is none, also where a defaultdict would make one."""
    try:
        found = holder(module, path)
        if isinstance(found, Mapping) and path[-1] not in found:
            return MISSING
        return get(found, path[-1])
    except (AttributeError, IndexError, KeyError, TypeError):
        return MISSING
