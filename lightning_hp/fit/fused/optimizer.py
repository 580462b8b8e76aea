"""The optimizer of a fused fit: one update for all rows, by the values that each row's own optimizer has just then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_hp.fit.fused.rules import RULES, SWITCHES, State
from lightning_hp.fit.fused.stack import Stack

# What says how torch's own optimizer computes, and not what.
_IMPLEMENTATION = frozenset({"params", "foreach", "fused", "capturable", "differentiable", "initial_lr"})


class FusedOptimizer(Optimizer):
    """Steps all rows of a stack.

    Each row has a real optimizer, made by its own ``configure_optimizers``, whose schedulers, hooks and Babysitter change its
    values; they are read before each step. Where its class has a rule in `RULES`, all rows are updated at once; otherwise each
    optimizer steps by itself, on its row's views.

    Args:
        stack: the parameters.
        optimizers: one per row.
    """

    def __init__(self, stack: Stack, optimizers: Sequence[Optimizer]) -> None:
        self.stack = stack
        self.optimizers = list(optimizers)
        self.states: dict[str, State] = {}
        self.steps: dict[str, int] = {}
        self._last: dict[int, _Values] = {}
        self._rule = RULES.get(type(optimizers[0]))
        self._groups = _groups(stack, optimizers[0])
        super().__init__([stack.parameters[name] for name in self._groups], {})

    @property
    def vectorized(self) -> bool:
        """Whether all rows are updated at once."""
        return self._rule is not None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._rule is None:
            self._step_each()
        else:
            self._step_all()
        return loss

    def keep(self, rows: Sequence[int]) -> None:
        """Follows the stack, which has kept only these rows."""
        self.distribute()
        self.optimizers = [self.optimizers[row] for row in rows]
        for state in self.states.values():
            for key, tensor in state.items():
                state[key] = tensor[torch.tensor(rows, device=tensor.device)]
        self.param_groups[0]["params"] = [self.stack.parameters[name] for name in self._groups]
        self.distribute()

    def distribute(self) -> None:
        """Gives each row's own optimizer its state, as views, for whoever looks at it: a checkpoint."""
        for row, (model, optimizer) in enumerate(zip(self.stack.models, self.optimizers, strict=False)):
            for name, state in self.states.items():
                own = {key: tensor[row] for key, tensor in state.items()}
                if not isinstance(optimizer, torch.optim.SGD):
                    own["step"] = torch.tensor(float(self.steps[name]))
                optimizer.state[model.get_parameter(name)] = own

    def collect(self) -> None:
        """Takes over the states that the rows' optimizers have, of a fit that goes on."""
        if self._rule is None:
            return
        for name in self._groups:
            owns = [
                optimizer.state.get(model.get_parameter(name), {})
                for model, optimizer in zip(self.stack.models, self.optimizers, strict=True)
            ]
            if owns[0]:
                self.steps[name] = int(owns[0].get("step", 1))
                keys = [key for key, value in owns[0].items() if key != "step" and value is not None]
                self.states[name] = {key: torch.stack([own[key] for own in owns]) for key in keys}

    def _step_all(self) -> None:
        assert self._rule is not None
        values = [self._values(group) for group in range(len(self.optimizers[0].param_groups))]
        for name, group in self._groups.items():
            parameter = self.stack.parameters[name]
            if parameter.grad is None:
                continue
            self.steps[name] = self.steps.get(name, 0) + 1
            shaped = values[group].shaped(parameter)
            self._rule(parameter, parameter.grad, self.states.setdefault(name, {}), self.steps[name], shaped)

    def _step_each(self) -> None:
        for row, (model, optimizer) in enumerate(zip(self.stack.models, self.optimizers, strict=True)):
            for name in self._groups:
                gradient = self.stack.parameters[name].grad
                model.get_parameter(name).grad = None if gradient is None else gradient[row]
            optimizer.step()

    def _values(self, group: int) -> _Values:
        """The rows' values of a parameter group as they are now; mostly they are those of the last step."""
        groups = [optimizer.param_groups[group] for optimizer in self.optimizers]
        read = {key: [each[key] for each in groups] for key in groups[0] if key not in _IMPLEMENTATION}
        if group not in self._last or not self._last[group].is_of(read):
            self._last[group] = _Values(read)
        return self._last[group]


class _Values:
    """The rows' values of a parameter group.

    Args:
        read: by name, one per row.
    """

    def __init__(self, read: Mapping[str, list[Any]]) -> None:
        self._read = read
        # A tensor may be changed in place.
        self._fixed = not any(isinstance(value, Tensor) for values in read.values() for value in values)
        self._joined = {key: _joined(values) for key, values in read.items()}
        if isinstance(self._joined.get("dampening"), Tensor) or self._joined.get("dampening"):
            # torch does not damp where there is no momentum.
            pairs = zip(read["dampening"], read["momentum"], strict=True)
            self._joined["dampening"] = _joined([dampening if momentum else 0.0 for dampening, momentum in pairs])
        self._shaped: dict[tuple[Any, ...], dict[str, Any]] = {}

    def is_of(self, read: Mapping[str, list[Any]]) -> bool:
        """Whether these would be the same."""
        return self._fixed and self._read == read

    def shaped(self, parameter: Tensor) -> dict[str, Any]:
        """As a rule takes them for a stacked parameter."""
        kind = parameter.dim(), parameter.device, parameter.dtype
        if kind not in self._shaped:
            self._shaped[kind] = {key: _shaped(value, parameter) for key, value in self._joined.items()}
        return self._shaped[kind]


def mismatch(optimizers: Sequence[Optimizer], models: Sequence[torch.nn.Module]) -> str | None:
    """Why these optimizers cannot step together; None if they can."""
    first = optimizers[0]
    for optimizer, model in zip(optimizers, models, strict=True):
        if type(optimizer) is not type(first):
            return f"optimizers of different classes, {type(first).__name__} and {type(optimizer).__name__}"
        if _names(model, optimizer) != _names(models[0], first):
            return "parameter groups of different make-up"
        for own, other in zip(optimizer.param_groups, first.param_groups, strict=True):
            switches = [key for key in SWITCHES & own.keys() if own[key] != other[key]]
            if switches:
                return f"different {switches[0]} of the optimizers"
    return None


def _names(model: torch.nn.Module, optimizer: Optimizer) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


def _groups(stack: Stack, optimizer: Optimizer) -> dict[str, int]:
    """The number of the group of each parameter that the optimizer steps, by name."""
    names = _names(stack.models[0], optimizer)
    return {name: number for number, group in enumerate(names) for name in group}


def _joined(values: list[Any]) -> Any:
    """One value where all rows have the same, otherwise a tensor with one per row."""
    if isinstance(values[0], tuple):
        return tuple(_joined(list(each)) for each in zip(*values, strict=True))
    if all(value == values[0] for value in values):
        return float(values[0]) if isinstance(values[0], Tensor) else values[0]
    return torch.tensor([float(value) for value in values])


def _shaped(value: Any, parameter: Tensor) -> Any:
    if isinstance(value, tuple):
        return tuple(_shaped(each, parameter) for each in value)
    if not isinstance(value, Tensor):
        return value
    return value.to(parameter.device, parameter.dtype).view(-1, *[1] * (parameter.dim() - 1))
