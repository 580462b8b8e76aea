"""What differs between the models of a fused job besides their parameters: numbers that a step may read.

A loss weight, a dropout probability or a label smoothing is a plain number in a module, in its ``hparams`` or in a list; in a
fused step it is a tensor with one value per row. What differs and is no number keeps the models apart.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import cloudpickle
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torchmetrics import Metric, MetricCollection

from lightning_hp.fit.fused.errors import CannotFuseError

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
_DEEPEST = 8


class Carried:
    """The numbers in which models differ.

    Args:
        models: one per row.
        device: where the step runs.

    Raises:
        CannotFuseError: what differs is no number.
    """

    def __init__(self, models: Sequence[nn.Module], device: torch.device) -> None:
        self._device = device
        self._values: dict[Path, Tensor] = {}
        self.read(models)

    def read(self, models: Sequence[nn.Module]) -> None:
        """Takes the models' current values, which their hooks may have changed.

        Raises:
            CannotFuseError: what differs is no number.
        """
        states = [state(model) for model in models]
        self._values = {}
        for path in {path: None for each in states for path in each}:
            values = [each.get(path, _MISSING) for each in states]
            if all(same(value, values[0]) for value in values):
                continue
            if not all(_is_number(value) for value in values) or not _settable(models[0], path):
                other = next(value for value in values if not same(value, values[0]))
                raise CannotFuseError(f"{readable(path)} differs ({_short(values[0])}, {_short(other)})")
            whole = all(isinstance(value, int) for value in values)
            dtype = torch.int64 if whole else torch.get_default_dtype()
            self._values[path] = torch.tensor(values, dtype=dtype, device=self._device)

    def keep(self, rows: Sequence[int]) -> None:
        """Leaves only these rows."""
        self._values = {path: values[list(rows)] for path, values in self._values.items()}

    def tensors(self) -> list[Tensor]:
        """One tensor per number, with one value per row."""
        return list(self._values.values())

    @contextmanager
    def lent(self, module: nn.Module, numbers: Sequence[Tensor]) -> Iterator[None]:
        """Puts numbers in the places of a module's own for the time of a step."""
        places = [(_holder(module, path), path[-1]) for path in self._values]
        own = [_get(holder, key) for holder, key in places]
        try:
            for (holder, key), number in zip(places, numbers, strict=True):
                _set(holder, key, number)
            yield
        finally:
            for (holder, key), value in zip(places, own, strict=True):
                _set(holder, key, value)


def state(model: nn.Module) -> dict[Path, Any]:
    """All plain values in a module and its parts, by where they are; tensors registered with it excepted."""
    found: dict[Path, Any] = {}
    # Some keep them in a list as well.
    registered = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    for name, module in model.named_modules():
        # A parametrized module has a class of its own, made of the true one; its parametrizations are parts like others.
        parametrized = parametrize.is_parametrized(module)
        found[name, "__class__"] = type(module).__base__ if parametrized else type(module)
        for key, value in vars(module).items():
            if key not in _INTERNAL and not _is_of_metric(module, key, value):
                _walk(value, (name, key), found)
    return {path: value for path, value in found.items() if id(value) not in registered}


def changes(before: Mapping[Path, Any], after: Mapping[Path, Any]) -> list[Path]:
    """Where two states of a module differ."""
    differing = (path for path in before.keys() | after.keys() if not same(before.get(path), after.get(path)))
    return sorted(differing, key=str)


def readable(path: Path) -> str:
    """A place as one would write it: ``net.drop.p``."""
    module, *rest = path
    return ".".join(str(part) for part in ((module,) if module else ()) + tuple(rest))


def _is_of_metric(module: nn.Module, key: str, value: Any) -> bool:
    """Whether it is what torchmetrics keeps for itself."""
    if not isinstance(module, (Metric, MetricCollection)):
        return False
    return key.startswith("_") or key in getattr(module, "_defaults", ()) or callable(value)


class _Missing:
    def __repr__(self) -> str:
        return "missing"


_MISSING = _Missing()


def _walk(value: Any, path: Path, found: dict[Path, Any]) -> None:
    size: Path = (*path, "#")
    if isinstance(value, Mapping) and len(path) < _DEEPEST:
        found[size] = tuple(map(str, value))
        for key, each in value.items():
            _walk(each, (*path, key), found)
    elif isinstance(value, (list, tuple)) and len(path) < _DEEPEST:
        found[size] = len(value)
        for index, each in enumerate(value):
            _walk(each, (*path, index), found)
    elif not isinstance(value, (nn.Module, weakref.ref)):
        found[path] = value


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are the same."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if one is _MISSING or isinstance(one, (int, float, str, bytes, type)):
        return bool(one == other) or (one != one and other != other)
    try:
        # Functions, partials and objects of the user's: the same if they would be sent to another process as the same.
        return bool(cloudpickle.dumps(one) == cloudpickle.dumps(other))
    except Exception:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _holder(module: nn.Module, path: Path) -> Any:
    holder: Any = module.get_submodule(path[0])
    for key in path[1:-1]:
        holder = _get(holder, key)
    return holder


def _settable(module: nn.Module, path: Path) -> bool:
    return not isinstance(_holder(module, path), tuple)


def _get(holder: Any, key: Any) -> Any:
    return vars(holder)[key] if isinstance(holder, nn.Module) else holder[key]


def _set(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, nn.Module):
        vars(holder)[key] = value
    else:
        holder[key] = value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
