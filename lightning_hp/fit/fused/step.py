"""One step of the user's module for all rows at once: its own ``training_step`` or ``validation_step`` under vmap."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torchmetrics import Metric

from lightning_hp.fit.fused.carried import Carried
from lightning_hp.fit.fused.metrics import MetricStates, metrics
from lightning_hp.fit.fused.overrides import Vectorizable
from lightning_hp.fit.fused.stack import Stack


class CannotFuseError(Exception):
    """These models cannot be trained as one; the message says why, to stand behind ``not fused:``."""


@dataclass(frozen=True)
class Logged:
    """What one call of ``self.log`` in a step has logged.

    Attributes:
        name: as the user gave it.
        values: one per row; or the path of a metric that was logged itself.
        options: the other arguments of ``log``.
    """

    name: str
    values: Tensor | str
    options: Mapping[str, Any]


@dataclass
class StepOutput:
    """What a step has given for all rows.

    Attributes:
        output: the step's return value, its tensors with a first axis for the rows.
        logged: in the order of the calls.
    """

    output: Any
    logged: list[Logged] = field(default_factory=list)


class FusedStep:
    """Runs steps of a template module with every row's tensors and numbers, all at once.

    Args:
        stack: the models' tensors.
        carried: the models' numbers.
    """

    def __init__(self, stack: Stack, carried: Carried) -> None:
        self.stack = stack
        self.carried = carried
        self.template = _copied(stack.models[0])
        self.metrics = MetricStates(stack.models, self.template)
        self._caller = _Caller(self.template)

    def follow(self, model: nn.Module) -> None:
        """Takes over the modes of a model's parts: one that is frozen may stay in eval mode."""
        for own, other in zip(self.template.modules(), model.modules(), strict=True):
            own.training = other.training

    def __call__(self, name: str, *args: Any) -> StepOutput:
        notes: dict[str, Any] = {}

        def one(tensors: dict[str, Tensor], numbers: list[Tensor], states: Any) -> Any:
            recorder = _Recorder(self.template)
            with self.carried.lent(self.template, numbers), self.metrics.lent(states) as after, recorder, Vectorizable():
                output = functional_call(self._caller, tensors, (name, args))
                renewed = self._caller.renewed(tensors)
            parts, leaves = _taken_apart((output, recorder.values, renewed, after))
            notes.update(parts=parts, calls=recorder.calls)
            return leaves

        stacked = {f"module.{key}": value for key, value in (*self.stack.parameters.items(), *self.stack.buffers.items())}
        leaves = vmap(one, randomness="different")(stacked, self.carried.tensors(), self.metrics.states)
        output, values, renewed, after = _put_together(notes["parts"], leaves)
        self.stack.replace({key.removeprefix("module."): value for key, value in renewed.items()})
        self.metrics.take(after)
        logged = [Logged(call, value, options) for (call, options), value in zip(notes["calls"], values, strict=True)]
        return StepOutput(output, logged)


class _Caller(nn.Module):
    """Makes any method of a module one that ``functional_call`` can call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._after: dict[str, Tensor] = {}

    def forward(self, name: str, args: tuple[Any, ...]) -> Any:
        output = getattr(self.module, name)(*args)
        # The module's own come back in a moment; what the step has assigned to a buffer's name would be lost.
        self._after = dict(self.named_buffers())
        return output

    def renewed(self, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
        after, self._after = self._after, {}
        return {name: tensor for name, tensor in after.items() if tensor is not before.get(name)}


class _Recorder:
    """Stands in for a module's ``log`` while a step runs."""

    def __init__(self, module: LightningModule) -> None:
        self._module = module
        self._paths = {id(metric): path for path, metric in metrics(module).items()}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.values: list[Any] = []

    def __enter__(self) -> None:
        self._module.log = self._log  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        del self._module.log

    def _log(self, name: str, value: Any, prog_bar: bool = False, *_: Any, **options: Any) -> None:
        if isinstance(value, Metric):
            self.values.append(self._paths[id(value)])
        else:
            tensor = value if isinstance(value, Tensor) else torch.tensor(float(value))
            self.values.append(tensor.detach().squeeze())
        self.calls.append((name, {"prog_bar": prog_bar, **options}))


def _copied(model: LightningModule) -> LightningModule:
    trainer = model.trainer
    # Of the fit it shall see what its model sees, and not have a copy of all that.
    model.trainer = None
    try:
        template = copy.deepcopy(model)
    except Exception as error:
        raise CannotFuseError(f"the module cannot be copied ({type(error).__name__}: {error})") from error
    finally:
        model.trainer = trainer
    template.trainer = trainer
    return template


@dataclass(frozen=True)
class _Slot:
    """Where a tensor was in a nest of containers."""

    index: int


def _taken_apart(tree: Any) -> tuple[Any, list[Tensor]]:
    """A nest of containers with slots in the tensors' places, and the tensors."""
    tensors: list[Tensor] = []

    def walk(node: Any) -> Any:
        if isinstance(node, Tensor):
            tensors.append(node)
            return _Slot(len(tensors) - 1)
        if isinstance(node, Mapping):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return [walk(value) for value in node]
        return node

    return walk(tree), tensors


def _put_together(tree: Any, tensors: list[Tensor]) -> Any:
    if isinstance(tree, _Slot):
        return tensors[tree.index]
    if isinstance(tree, dict):
        return {key: _put_together(value, tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_put_together(value, tensors) for value in tree]
    return tree
