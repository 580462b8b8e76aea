"""The optimizer of a fused fit: one update for all rows, by the values that each row's own optimizer has just then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from lightning_hp.fit.fused.coefficients import Hyperparameters
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.loss_scales import LossScales
from lightning_hp.fit.fused.rules import BEGUN, FIRST, State, Steps, unchanged
from lightning_hp.fit.fused.rules_adam import RULES, SWITCHES
from lightning_hp.fit.fused.stack import Stack
from lightning_hp.fit.fused.trees import per_row
from lightning_hp.fit.fused.updates import Update, Updates
from lightning_hp.signature import arguments


class FusedOptimizer(Optimizer):
    """Steps all rows of a stack.

    Each row has a real optimizer, made by its own ``configure_optimizers``, whose schedulers, hooks and Babysitter change its
    values; they are read before each step. Where its class has a rule in `RULES`, all rows are updated at once; otherwise each
    optimizer steps by itself, on its row's views.

    Args:
        stack: the parameters.
        optimizers: one per row.
        scales: of the rows' losses, by which the gradients are too large; rows whose gradients overflow make no step.

    Attributes:
        passed_over: other rows that make no step now.
        losses: of the rows, in the last training step.
    """

    def __init__(self, stack: Stack, optimizers: Sequence[Optimizer], scales: LossScales | None = None) -> None:
        self.stack = stack
        self.optimizers = list(optimizers)
        self.scales = scales
        self.passed_over: Collection[int] = ()
        self.losses = torch.zeros(len(optimizers))
        self.states: dict[str, State] = {}
        self.steps: dict[str, Steps] = {}
        rule = RULES.get(type(optimizers[0]))
        self._rule = rule if rule is not None and _plain(optimizers, stack) else None
        self._updates = None if self._rule is None else Updates(self._rule.update)
        self._hyperparameters = self._followed()
        self._sums: dict[str, Tensor] = {}
        self._groups = _groups(stack, optimizers[0])
        super().__init__([stack.parameters[name] for name in self._groups], {})
        for optimizer in optimizers:
            # A rule's step is not seen by their schedulers, which would warn that there was none.
            optimizer._opt_called = True  # type: ignore[attr-defined]
        self.collect()

    @property
    def vectorized(self) -> bool:
        """Whether all rows are updated at once."""
        return self._rule is not None

    @property
    def gradients(self) -> list[Tensor]:
        """Of the parameters that it steps, as far as they have one."""
        parameters = self.param_groups[0]["params"]
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    def take_gradients(self, gradients: Mapping[str, Tensor], accumulates: bool) -> None:
        """Takes what a replay has written, or adds it to what is there.

        Args:
            gradients: by name; the next replay writes to the same tensors.
            accumulates: whether there may be another replay before the step.
        """
        for name, gradient in gradients.items():
            parameter = self.stack.parameters[name]
            if parameter.grad is not None:
                parameter.grad.add_(gradient)
            elif accumulates:
                # The same tensor each time, so that the update can be replayed as well.
                if name not in self._sums:
                    self._sums[name] = torch.empty_like(gradient)
                parameter.grad = self._sums[name].copy_(gradient)
            else:
                parameter.grad = gradient

    def unscale(self) -> None:
        """Divides each row's gradients by its loss scale, if there are any."""
        if self.scales is not None:
            self.scales.unscale(self.gradients)

    def zero_grad(self, set_to_none: bool = True) -> None:
        # torch's own has it recorded for its profiler, which takes several times as long.
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        skipped = {*self.passed_over, *(self.scales.overflowed if self.scales is not None else ())}
        if self._rule is None:
            self._step_each(skipped)
        elif len(skipped) < len(self.optimizers):
            self._step_all(skipped)
        if self.scales is not None:
            self.scales.update()
        return loss

    def keep(self, rows: Sequence[int]) -> None:
        """Follows the stack, which has kept only these rows."""
        self.optimizers = [self.optimizers[row] for row in rows]
        for state in self.states.values():
            for key, tensor in state.items():
                state[key] = tensor[torch.tensor(rows, device=tensor.device)]
        for name, steps in self.steps.items():
            self.steps[name] = steps if isinstance(steps, int) else _counts(steps[list(rows)])
        self._hyperparameters, self._sums = self._followed(), {}
        if self._updates is not None:
            self._updates.forget()
        if self.scales is not None:
            self.scales.keep(rows)
        self.param_groups[0]["params"] = [self.stack.parameters[name] for name in self._groups]
        self.distribute()

    def follow(self) -> None:
        """Takes over what a hook has added to or taken from the rows' parameter groups, as one that thaws layers does.

        Raises:
            CannotFuseError: not in all rows the same.
        """
        groups = _groups(self.stack, self.optimizers[0])
        if groups != self._groups or len({len(optimizer.param_groups) for optimizer in self.optimizers}) > 1:
            reason = mismatch(self.optimizers, self.stack.models)
            if reason is not None:
                raise CannotFuseError(reason)
            new, self._groups = groups.keys() - self._groups.keys(), groups
            self.param_groups[0]["params"] = [self.stack.parameters[name] for name in groups]
            self.collect(new)

    def distribute(self, only: Optimizer | None = None) -> None:
        """Gives each row's own optimizer, or one of them, its state, as views, for whoever looks at it: a checkpoint."""
        made = {step for steps in self.steps.values() for step in np.ravel(steps).tolist()}
        tensors = {step: torch.tensor(float(step), dtype=_step_dtype()) for step in made}
        for row, (model, optimizer) in enumerate(zip(self.stack.models, self.optimizers, strict=True)):
            if only not in (None, optimizer):
                continue
            for name, state in self.states.items():
                parameter = model.get_parameter(name)
                steps = self.steps[name]
                step = steps if isinstance(steps, int) else int(steps[row])
                if step == 0 and parameter not in optimizer.state:
                    # Others have stepped. torch gives most parameters a state at the first step.
                    continue
                own = {key: tensor[row] for key, tensor in state.items() if key != BEGUN}
                if BEGUN in state and not state[BEGUN][row].any():
                    del own["momentum_buffer"]
                if not isinstance(optimizer, torch.optim.SGD):
                    own["step"] = tensors[step]
                if own:
                    optimizer.state[parameter] = own

    def collect(self, names: Collection[str] | None = None) -> None:
        """Takes over the states that the rows' optimizers have, of a fit that goes on: of these parameters; None for all."""
        for name in (self._groups if names is None else names) if self._rule is not None else ():
            parameter = self.stack.parameters[name]
            owns = [
                optimizer.state.get(model.get_parameter(name), {})
                for model, optimizer in zip(self.stack.models, self.optimizers, strict=True)
            ]
            self.steps[name] = _counts(np.array([int(own.get("step", 0)) for own in owns]))
            keys = {key for own in owns for key, value in own.items() if key != "step" and value is not None}
            state = {key: _rows(key, [own.get(key) for own in owns], parameter) for key in sorted(keys)}
            begun = [own.get("momentum_buffer") is not None for own in owns]
            if any(begun) and not all(begun):
                state[BEGUN] = per_row(torch.tensor(begun, device=parameter.device), parameter)
            if state:
                self.states[name] = state
            else:
                self.states.pop(name, None)

    def follow_row(self, row: int) -> None:
        """Takes over the state that one row's optimizer has been given, and drops the row's gradients."""
        for other, optimizer in enumerate(self.optimizers):
            if other != row:
                self.distribute(optimizer)
        self.collect()
        self.drop_gradients([row])

    def drop_gradients(self, rows: Sequence[int]) -> None:
        """Has what these rows' gradients have come to by now count for nothing."""
        for gradient in self.gradients if rows else ():
            gradient[list(rows)] = 0.0

    def _followed(self) -> Hyperparameters | None:
        return None if self._rule is None else Hyperparameters(self._rule, self.optimizers)

    def _step_all(self, skipped: Collection[int]) -> None:
        assert self._updates is not None
        assert self._hyperparameters is not None
        self._hyperparameters.read()
        updates = {}
        for name, group in self._groups.items():
            parameter, step = self.stack.parameters[name], self.steps.get(name, 0) + 1
            if parameter.grad is not None:
                state = self.states.setdefault(name, {})
                updates[name] = Update(parameter, parameter.grad, state, self._hyperparameters.at(group, step))
                self.steps[name] = _without(step, skipped, len(parameter)) if skipped else step
        if not skipped:
            self._updates(list(updates.values()))
        for each in updates.values() if skipped else ():
            with unchanged(each.parameter, each.state, skipped):
                self._updates.one(each)

    def _step_each(self, skipped: Collection[int]) -> None:
        for row, (model, optimizer) in enumerate(zip(self.stack.models, self.optimizers, strict=True)):
            for name in self._groups:
                gradient = self.stack.parameters[name].grad
                model.get_parameter(name).grad = None if gradient is None else gradient[row]
            if row not in skipped:
                _step(optimizer, self.losses[row])


def _step(optimizer: Optimizer, loss: Tensor) -> None:
    """Has a row's optimizer make its step. The gradients are there: one that wants them by its closure wants them once."""
    kind, versions = type(optimizer).__name__, _versions(optimizer)
    called = False

    def closure() -> Tensor:
        nonlocal called
        if called or _versions(optimizer) != versions:
            asks = "more than once" if called else "for gradients elsewhere"
            raise CannotFuseError(f"{kind} calls the closure of its step {asks}", by_numbers=False)
        called = True
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]


def _versions(optimizer: Optimizer) -> list[int]:
    return [parameter._version for group in optimizer.param_groups for parameter in group["params"]]


def row_norms(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of each row's gradients."""
    norms = [torch.linalg.vector_norm(gradient.reshape(len(gradient), -1), dim=1) for gradient in gradients]
    whole: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    return whole


def mismatch(optimizers: Sequence[Optimizer], models: Sequence[torch.nn.Module]) -> str | None:
    """Why these optimizers cannot step together; None if they can."""
    first = optimizers[0]
    if not any(group["params"] for group in first.param_groups):
        return "configure_optimizers gives no optimizer"
    if "closure" in arguments(type(first).step)[1]:
        return f"{type(first).__name__} calls the closure of its step for the loss, more than once perhaps"
    for optimizer, model in zip(optimizers, models, strict=True):
        if type(optimizer) is not type(first):
            return f"optimizers of different classes, {type(first).__name__} and {type(optimizer).__name__}"
        if any(None in names for names in _names(model, optimizer)):
            return "an optimizer of parameters that are not the module's"
        if _names(model, optimizer) != _names(models[0], first):
            return "parameter groups of different make-up"
        for own, other in zip(optimizer.param_groups, first.param_groups, strict=True):
            switches = [key for key in SWITCHES & own.keys() if own[key] != other[key]]
            if switches:
                return f"different {switches[0]} of the optimizers"
    return None


def unscales_by_itself(optimizer: FusedOptimizer, clipping: bool) -> bool:
    """Whether the rows' optimizers do in their step what a fused fit does before: those with ``fused=True``, to save time.

    With a rule it comes to the same, but for clipping, which Lightning refuses then.
    """
    handles = any(_optimizer_handles_unscaling(each) for each in optimizer.optimizers)
    return handles and (clipping or not optimizer.vectorized)


def _names(model: torch.nn.Module, optimizer: Optimizer) -> list[list[str | None]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names.get(id(parameter)) for parameter in group["params"]] for group in optimizer.param_groups]


def _groups(stack: Stack, optimizer: Optimizer) -> dict[str, int]:
    """The number of the group of each parameter that the optimizer steps, by name; those that no model trains have no rows."""
    names = _names(stack.models[0], optimizer)
    return {name: number for number, group in enumerate(names) for name in group if name in stack.parameters}


def _plain(optimizers: Sequence[Optimizer], stack: Stack) -> bool:
    """Whether a rule does all that these optimizers do."""
    hooked = any(each._optimizer_step_pre_hooks or each._optimizer_step_post_hooks for each in optimizers)
    tensors = (*stack.parameters.values(), *stack.shared.tensors.values())
    return not hooked and not any(tensor.is_complex() for tensor in tensors)


def _rows(key: str, owns: Sequence[Tensor | None], parameter: Tensor) -> Tensor:
    """What the rows' optimizers have of one name, stacked; for those that have nothing, what is before the first step."""
    like = next(own for own in owns if own is not None)
    first = torch.full_like(like, FIRST.get(key, 0))
    return torch.stack([first if own is None else own for own in owns]).to(parameter.device)


def _counts(steps: NDArray[np.int64]) -> Steps:
    """The steps that rows have made: one number where it is the same."""
    return int(steps[0]) if (steps == steps[0]).all() else steps


def _without(steps: Steps, rows: Collection[int], count: int) -> Steps:
    """The steps of so many rows, of which these have not made the last."""
    made = np.full(count, steps, dtype=np.int64)
    made[list(rows)] -= 1
    return _counts(made)


def _step_dtype() -> torch.dtype:
    # As torch.optim: a float32 for most.
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
