"""Snapshots of a running fit: weights, buffers, optimizers, schedulers, loss scale and what EarlyStopping has counted, to go
back to within the same fit.

Steps, epochs, data and loggers are no part of them. Everything is restored in place, so that whoever holds a parameter still
holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote
from weakref import finalize

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_hp.babysit import early

# Plain values and tensors on the host, which a checkpoint can hold.
State: TypeAlias = dict[str, Any]
# Bytes of snapshots that a fit keeps in memory; the rest goes to files.
MOST_IN_MEMORY = 2**30
# What takes the most room.
_BULKY = ("model", "optimizer_states")
# What holds no tensor.
_PLAIN = (bool, int, float, str)
_SHARDED = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


@torch.no_grad()
def taken(trainer: Trainer) -> State:
    """A snapshot of a fit as it stands."""
    optimizers = [trainer.strategy.optimizer_state(optimizer) for optimizer in trainer.optimizers]
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    return {
        "model": {name: _copied(tensor) for name, tensor in _tensors(trainer.lightning_module) if not is_lazy(tensor)},
        "optimizer_states": [_kept(optimizer["state"]) for optimizer in optimizers],
        "param_groups": [_kept(optimizer["param_groups"]) for optimizer in optimizers],
        "schedulers": [(type(scheduler).__name__, _kept(scheduler.state_dict())) for scheduler in schedulers],
        "precision": _kept(trainer.precision_plugin.state_dict()),
        "early_stopping": _kept(early.states(trainer)),
    }


def restore(trainer: Trainer, snapshot: State) -> None:
    """Brings a fit back to a snapshot. Gradients that wait for a step are dropped: they belong to other weights.

    A parameter group that has come since keeps its lr and momentum.
    """
    with torch.no_grad():
        for name, tensor in _tensors(trainer.lightning_module):
            if name in snapshot["model"]:
                _overwrite(tensor, snapshot["model"][name])
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    saved = snapshot["schedulers"]
    # SWA puts another scheduler in the place of one: what was saved is of no use to it, and neither is the lr of then.
    same = [type(scheduler).__name__ for scheduler in schedulers] == [name for name, _ in saved]
    states = zip(trainer.optimizers, snapshot["optimizer_states"], snapshot["param_groups"], strict=True)
    restored = [_fitting(trainer.strategy.optimizer_state(own), state, groups, same) for own, state, groups in states]
    trainer.strategy.load_optimizer_state_dict({"optimizer_states": restored})
    for scheduler, (_, state) in zip(schedulers, saved, strict=False):
        if same:
            scheduler.load_state_dict(_given(state))
    trainer.precision_plugin.load_state_dict(_given(snapshot["precision"]))
    early.restore(trainer, _given(snapshot["early_stopping"]))
    for optimizer in trainer.optimizers:
        optimizer.zero_grad(set_to_none=True)


def later_groups(trainer: Trainer, snapshot: State) -> list[bool]:
    """Of each parameter group, numbered through all optimizers, whether it has come since a snapshot."""
    pairs = zip(trainer.optimizers, snapshot["param_groups"], strict=True)
    return [index >= len(groups) for optimizer, groups in pairs for index in range(len(optimizer.param_groups))]


def possible(trainer: Trainer) -> bool:
    """Whether each process of a fit has the whole of model and optimizers."""
    sharded = any(hasattr(optimizer, "consolidate_state_dict") for optimizer in trainer.optimizers)
    return not sharded and not isinstance(trainer.strategy, _SHARDED)


class Snapshots:
    """The snapshots that a fit has taken, by name: in memory up to a size, beyond it in files.

    Args:
        folder: of the files; they go with this object, for a checkpoint may be made of a fit that has ended.
        rank: of this process among those that train together; each keeps its own.
        most: bytes that are kept in memory; None is `MOST_IN_MEMORY`.
    """

    def __init__(self, folder: Path, rank: int = 0, most: int | None = None) -> None:
        self.folder = folder
        self.rank = rank
        self.most = MOST_IN_MEMORY if most is None else most
        self._held: dict[str, State] = {}
        # Bytes of those in memory.
        self._sizes: dict[str, int] = {}
        self._files: dict[str, tuple[Path, finalize[Any, Any]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def keep(self, name: str, snapshot: State) -> None:
        """Keeps a snapshot, in the place of an earlier one of that name.

        Raises:
            OSError: it is too large for memory, and the file can't be written.
        """
        self._forget(name)
        size = _size(snapshot)
        if sum(self._sizes.values()) + size > self.most:
            bulky = {key: snapshot[key] for key in _BULKY}
            file = self.folder / f"snapshot-{quote(name, safe='')}.rank{self.rank}.pt"
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(bulky, file)
            self._files[name] = file, finalize(self, _unlink, file)
            snapshot, size = {key: value for key, value in snapshot.items() if key not in _BULKY}, 0
        self._held[name], self._sizes[name] = snapshot, size

    def get(self, name: str) -> State:
        """A snapshot that is kept. What is in a file is read as it is used."""
        snapshot = self._held[name]
        if name in self._files:
            snapshot = snapshot | torch.load(self._files[name][0], map_location="cpu", weights_only=True, mmap=True)
        return snapshot

    def clear(self) -> None:
        """Forgets all snapshots, and deletes their files."""
        for name in list(self._held):
            self._forget(name)

    def state_dict(self) -> dict[str, State]:
        """All of them, as a checkpoint holds them. The tensors are not copied: none is ever changed."""
        return {name: self.get(name) for name in self._held}

    def load_state_dict(self, states: Mapping[str, State]) -> None:
        self.clear()
        for name, snapshot in states.items():
            self.keep(name, apply_to_collection(snapshot, Tensor, lambda tensor: tensor.detach().cpu()))

    def _forget(self, name: str) -> None:
        self._held.pop(name, None)
        self._sizes.pop(name, None)
        if name in self._files:
            _, delete = self._files.pop(name)
            delete()


def _unlink(file: Path) -> None:
    with suppress(OSError):
        file.unlink()


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, those too that a module keeps out of its checkpoints."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def _kept(value: Any) -> Any:
    """A copy on the host that nothing else changes."""
    # The usual at once; in search of what else may hold a tensor, this takes three times as long.
    if isinstance(value, Tensor):
        return _copied(value)
    if type(value) is dict:
        return {key: _kept(each) for key, each in value.items()}
    if type(value) is list:
        return [_kept(each) for each in value]
    if value is None or isinstance(value, _PLAIN):
        return value
    return apply_to_collection(value, Tensor, _copied)


def _copied(tensor: Tensor) -> Tensor:
    # A clone takes half as long as the other way there.
    return tensor.clone() if tensor.device.type == "cpu" else tensor.to("cpu", copy=True)


def _given(value: Any) -> Any:
    """A copy for whoever will change it."""
    return apply_to_collection(value, Tensor, torch.clone)


def _overwrite(tensor: Tensor, kept: Tensor) -> None:
    if tensor.shape == kept.shape:
        tensor.copy_(kept)
    else:
        # A buffer that grows with what it has seen.
        tensor.data = kept.to(tensor.device, tensor.dtype, copy=True)


def _fitting(now: State, state: Any, groups: list[State], with_values: bool) -> State:
    """The state that an optimizer had, for how its parameter groups are now.

    Groups may have come since, of layers that were thawed; of an optimizer that was otherwise rebuilt nothing fits.
    """
    sizes = [[len(group["params"]) for group in each] for each in (groups, now["param_groups"])]
    if sizes[0] != sizes[1][: len(groups)]:
        return {"state": {}, "param_groups": now["param_groups"]}
    values = [*_given(groups), *now["param_groups"][len(groups) :]] if with_values else now["param_groups"]
    return {"state": _given(state), "param_groups": values}


def _size(snapshot: State) -> int:
    """Bytes of the tensors in what takes the most room."""
    states = [each for state in snapshot["optimizer_states"] for each in state.values()]
    values = [value for each in states for value in (each.values() if type(each) is dict else [each])]
    tensors = [value for value in (*snapshot["model"].values(), *values) if isinstance(value, Tensor)]
    # Nearly always none; in search of a tensor this takes long.
    others = [value for value in values if value is not None and not isinstance(value, (Tensor, *_PLAIN))]
    if others:
        apply_to_collection(others, Tensor, tensors.append)
    return sum([tensor.nbytes for tensor in tensors])
