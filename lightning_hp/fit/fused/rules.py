"""Updates of stacked parameters: what torch's optimizers do to one model, done to all rows at once.

Each rule takes a stacked parameter, its gradient, its state and the rows' hyperparameters, and updates the first and the third
in place. A hyperparameter that is the same in all rows is a number, otherwise a tensor of shape (rows, 1, ...). States have the
names that torch gives them, so that a row of them is the state of that row's own optimizer.

The formulas are those of the documentation of torch.optim (single-tensor implementations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

State: TypeAlias = dict[str, Tensor]
# A number, or one per row.
Value: TypeAlias = Any
Rule: TypeAlias = Callable[[Tensor, Tensor, State, int, Mapping[str, Value]], None]


def sgd(parameter: Tensor, gradient: Tensor, state: State, step: int, h: Mapping[str, Value]) -> None:
    if h["maximize"]:
        gradient = -gradient
    gradient = _decayed(parameter, gradient, h["weight_decay"])
    if not _is_zero(h["momentum"]):
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = gradient.clone()
        else:
            damped = gradient if _is_zero(h["dampening"]) else gradient * (1 - h["dampening"])
            state["momentum_buffer"].mul_(h["momentum"]).add_(damped)
        buffer = state["momentum_buffer"]
        gradient = gradient + buffer * h["momentum"] if h["nesterov"] else buffer
    _descend(parameter, gradient, h["lr"])


def adam(parameter: Tensor, gradient: Tensor, state: State, step: int, h: Mapping[str, Value]) -> None:
    if h["maximize"]:
        gradient = -gradient
    if h.get("decoupled_weight_decay"):
        parameter.mul_(1 - h["lr"] * h["weight_decay"])
    else:
        gradient = _decayed(parameter, gradient, h["weight_decay"])
    beta1, beta2 = h["betas"]
    mean = _state(state, "exp_avg", gradient)
    square = _state(state, "exp_avg_sq", gradient)
    mean.lerp_(gradient, 1 - beta1)
    _average_square(square, gradient, beta2)
    if h["amsgrad"]:
        square = torch.maximum(_state(state, "max_exp_avg_sq", gradient), square, out=state["max_exp_avg_sq"])
    denominator = square.sqrt().div_((1 - beta2**step) ** 0.5).add_(h["eps"])
    _descend(parameter, mean / denominator, h["lr"] / (1 - beta1**step))


def rmsprop(parameter: Tensor, gradient: Tensor, state: State, step: int, h: Mapping[str, Value]) -> None:
    if h["maximize"]:
        gradient = -gradient
    gradient = _decayed(parameter, gradient, h["weight_decay"])
    square = _state(state, "square_avg", gradient)
    _average_square(square, gradient, h["alpha"])
    if h["centered"]:
        mean = _state(state, "grad_avg", gradient)
        mean.lerp_(gradient, 1 - h["alpha"])
        square = square - mean.square()
    update = gradient / square.sqrt().add_(h["eps"])
    if not _is_zero(h["momentum"]):
        buffer = _state(state, "momentum_buffer", gradient)
        update = buffer.mul_(h["momentum"]).add_(update)
    _descend(parameter, update, h["lr"])


# Exactly these classes: a subclass may do anything.
RULES: dict[type[torch.optim.Optimizer], Rule] = {
    torch.optim.SGD: sgd,
    torch.optim.Adam: adam,
    torch.optim.AdamW: adam,
    torch.optim.RMSprop: rmsprop,
}
# What a rule branches on; it has to be the same in all rows.
SWITCHES = frozenset({"maximize", "nesterov", "amsgrad", "centered", "decoupled_weight_decay"})


def _descend(parameter: Tensor, update: Tensor, rate: Value) -> None:
    if isinstance(rate, Tensor):
        parameter.addcmul_(update, rate, value=-1)
    else:
        parameter.add_(update, alpha=-rate)


def _average_square(square: Tensor, gradient: Tensor, decay: Value) -> None:
    if isinstance(decay, Tensor):
        square.mul_(decay).addcmul_(gradient * (1 - decay), gradient)
    else:
        square.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)


def _decayed(parameter: Tensor, gradient: Tensor, weight_decay: Value) -> Tensor:
    return gradient if _is_zero(weight_decay) else gradient + parameter * weight_decay


def _is_zero(value: Value) -> bool:
    return not isinstance(value, Tensor) and value == 0


def _state(state: State, name: str, like: Tensor) -> Tensor:
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]
