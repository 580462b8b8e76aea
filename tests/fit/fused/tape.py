"""A stand-in for CUDA graphs on a CPU: what a step asks for is taken down, operation by operation, and done again by a replay.

As with the real ones, nothing is done while it is taken down, Python does not run in a replay, tensors stay where they are,
and of what a replay has made nothing is left after that of another graph in the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_hp.fit.fused import graphs, module

T = TypeVar("T")

# A device would have to tell the host what they find, which it can't while it is only taken down.
TELLING = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "_unique2"}


class Tape:
    """Records and replays as `lightning_hp.fit.fused.graphs.Graph` says.

    Args:
        shared: another, whose memory it may use as well.

    Attributes:
        replays: how often it was replayed.
    """

    def __init__(self, shared: Tape | None = None) -> None:
        self.replays = 0
        self._operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._made: list[Tensor] = []
        self._in_memory = [] if shared is None else shared._in_memory
        self._in_memory.append(self)

    def record(self, run: Callable[[], T]) -> T:
        drawn = torch.get_rng_state()
        recorder = _Recorder()
        try:
            with recorder:
                return run()
        finally:
            recorder.undo()
            torch.set_rng_state(drawn)
            self._operations, self._made = recorder.operations, list(recorder.made.values())
            self._spoil()

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for other in self._in_memory:
            if other is not self:
                other._spoil()
        for function, args, kwargs, before in self._operations:
            # Without gradients some give less: attention, what its own gradient takes.
            for own, new in zip(before, _tensors(function(*args, **kwargs)), strict=False):
                if _memory(own) != _memory(new):
                    own.copy_(new)

    @torch.no_grad()
    def _spoil(self) -> None:
        for tensor in self._made:
            tensor.fill_(float("nan") if tensor.is_floating_point() or tensor.is_complex() else -1)


def record_on_tape(monkeypatch: pytest.MonkeyPatch, kind: type[Tape] = Tape) -> None:
    """Has fused steps recorded and replayed on a CPU, as on a device that has graphs."""
    monkeypatch.setitem(graphs.GRAPHS, "cpu", kind)
    # There all rows are run at once.
    monkeypatch.setattr(module, "most_at_once", lambda step, name, args: None)


class _Recorder(TorchDispatchMode):
    """Takes down operations, and what they write over."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        # One for each piece of memory that is new.
        self.made: dict[int, Tensor] = {}
        self._written: list[tuple[Tensor, Tensor]] = []
        self._old: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.name.removeprefix("aten::") in TELLING:
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing")
        for tensor in _tensors((args, kwargs)):
            if _memory(tensor) not in self.made:
                self._old.setdefault(_memory(tensor), tensor)
        for tensor in _written(func, args, kwargs):
            if _memory(tensor) not in self.made:
                self._written.append((tensor.detach(), tensor.detach().clone()))
        found = func(*args, **kwargs)
        results = _tensors(found)
        for tensor in results:
            if _memory(tensor) not in self._old and tensor.numel():
                self.made.setdefault(_memory(tensor), tensor.detach())
        self.operations.append((func, args, kwargs, [each.detach() for each in results]))
        return found

    @torch.no_grad()
    def undo(self) -> None:
        for tensor, before in reversed(self._written):
            tensor.copy_(before)


def _written(function: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    for index, argument in enumerate(function._schema.arguments):
        # Of its running statistics, batch normalization does not say so.
        if (argument.alias_info and argument.alias_info.is_write) or argument.name.startswith("running_"):
            yield from _tensors(args[index] if index < len(args) else kwargs.get(argument.name))


def _tensors(tree: Any) -> list[Tensor]:
    return [each for each in tree_leaves(tree) if isinstance(each, Tensor)]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
