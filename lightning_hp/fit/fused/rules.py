"""Updates of stacked parameters: what torch's optimizers do to one model, done to all rows at once.

A rule has two parts. Its coefficients are what the rows' hyperparameters come to at a step: numbers, on the host and in double
precision, as torch has them. Its update takes a stacked parameter, the gradient, the state and the coefficients, and updates
the first and the third in place; there a coefficient that is not the same in all rows is a tensor of shape (rows, 1, ...).
States have the names that torch gives them, so that a row of them is the state of that row's own optimizer.

The formulas are those of torch.optim (single-tensor implementations).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# A number or switch, or an array of one number per row.
Value: TypeAlias = Any
Values: TypeAlias = Mapping[str, Value]
State: TypeAlias = dict[str, Tensor]
# How many steps the rows have made: a number where all have made as many, otherwise one per row.
Steps: TypeAlias = int | NDArray[np.int64]
# What is in a state before the first step, where that is not 0.
FIRST = {"mu_product": 1.0}
# In a state: which rows have momentum buffers yet. torch makes one at the first step with a momentum other than 0.
BEGUN = "begun"


class Rule(NamedTuple):
    """What an optimizer does.

    Attributes:
        coefficients: from the hyperparameters of a parameter group, and the number of the step, from 1.
        update: of a parameter with its gradient and state.
        counts: whether the coefficients are others at each step.
    """

    coefficients: Callable[[Values, Steps], Values]
    update: Callable[[Tensor, Tensor, State, Values], None]
    counts: bool = True


def sgd_coefficients(h: Values, step: Steps) -> Values:
    return {**_plain(h), **_momentum(h), "fresh": 1 - h["dampening"], "nesterov": h["nesterov"]}


def sgd(parameter: Tensor, gradient: Tensor, state: State, c: Values) -> None:
    gradient = prepared(parameter, gradient, c)
    if not is_zero(c["on"]):
        buffer = _with_momentum(gradient, state, c)
        # Where momentum is off, so is Nesterov's.
        gradient = gradient + buffer * c["momentum"] if c["nesterov"] else buffer
    descend(parameter, gradient, c["rate"])


def rmsprop_coefficients(h: Values, step: Steps) -> Values:
    average = {"alpha": h["alpha"], "new": 1 - h["alpha"], "eps": h["eps"], "centered": h["centered"]}
    return {**_plain(h), **_momentum(h), **average, "fresh": 1.0}


def rmsprop(parameter: Tensor, gradient: Tensor, state: State, c: Values) -> None:
    gradient = prepared(parameter, gradient, c)
    square = averaged_square(state, "square_avg", gradient, c["alpha"], c["new"])
    if c["centered"]:
        square = square - averaged(state, "grad_avg", gradient, c["alpha"], c["new"]).square()
    update = gradient / square.sqrt().add_(c["eps"])
    descend(parameter, update if is_zero(c["on"]) else _with_momentum(update, state, c), c["rate"])


def adagrad_coefficients(h: Values, step: Steps) -> Values:
    return {**_plain(h), "rate": h["lr"] / (1 + (step - 1) * h["lr_decay"]), "eps": h["eps"]}


def adagrad(parameter: Tensor, gradient: Tensor, state: State, c: Values) -> None:
    gradient = prepared(parameter, gradient, c)
    total = entry(state, "sum", gradient).addcmul_(gradient, gradient)
    descend(parameter, gradient / total.sqrt().add_(c["eps"]), c["rate"])


def adadelta_coefficients(h: Values, step: Steps) -> Values:
    return {**_plain(h), "rho": h["rho"], "new": 1 - h["rho"], "eps": h["eps"]}


def adadelta(parameter: Tensor, gradient: Tensor, state: State, c: Values) -> None:
    gradient = prepared(parameter, gradient, c)
    square = averaged_square(state, "square_avg", gradient, c["rho"], c["new"])
    before = entry(state, "acc_delta", gradient)
    update = gradient * ((before + c["eps"]) / (square + c["eps"])).sqrt_()
    averaged_square(state, "acc_delta", update, c["rho"], c["new"])
    descend(parameter, update, c["rate"])


@contextmanager
def unchanged(parameter: Tensor, state: State, rows: Collection[int]) -> Iterator[None]:
    """Leaves these rows of a parameter and its state as they are, while the others are updated."""
    index = torch.tensor(list(rows), device=parameter.device)
    own, before = parameter[index], {key: tensor[index] for key, tensor in state.items()}
    begun = _begun(state, parameter)[index]
    yield
    parameter[index] = own
    for key, tensor in state.items():
        tensor[index] = before.get(key, FIRST.get(key, 0))
    if "momentum_buffer" in state:
        state[BEGUN] = _begun(state, parameter)
        state[BEGUN][index] = begun


def prepared(parameter: Tensor, gradient: Tensor, c: Values) -> Tensor:
    """The gradient to descend along: of the loss, or against it, with L2 decay."""
    gradient = -gradient if c["maximize"] else gradient
    return gradient if is_zero(c["weight_decay"]) else gradient + parameter * c["weight_decay"]


def descend(parameter: Tensor, update: Tensor, rate: Value) -> None:
    """Takes a step of ``rate`` times ``update``."""
    if isinstance(rate, Tensor):
        parameter.addcmul_(update, rate, value=-1)
    else:
        parameter.add_(update, alpha=-rate)


def averaged(state: State, name: str, new: Tensor, keep: Value, take: Value) -> Tensor:
    """A running average in the state, after it has taken in a new tensor."""
    average = entry(state, name, new).mul_(keep)
    return average.addcmul_(new, take) if isinstance(take, Tensor) else average.add_(new, alpha=take)


def averaged_square(state: State, name: str, new: Tensor, keep: Value, take: Value) -> Tensor:
    """The same of a tensor's square."""
    if isinstance(take, Tensor):
        return averaged(state, name, new.square(), keep, take)
    return entry(state, name, new).mul_(keep).addcmul_(new, new, value=take)


def entry(state: State, name: str, like: Tensor) -> Tensor:
    """A tensor of the state, zeros at first."""
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]


def is_zero(value: Value) -> bool:
    """Whether a coefficient is 0 in all rows."""
    return not isinstance(value, Tensor) and value == 0


def powers(base: Value, step: Steps) -> Value:
    """As torch, which raises Python numbers: ``base ** step`` in double precision."""
    return np.power(np.asarray(base, dtype=np.float64), step)


def _plain(h: Values) -> Values:
    """What every rule here needs."""
    return {"rate": h["lr"], "weight_decay": h["weight_decay"], "maximize": h["maximize"]}


def _momentum(h: Values) -> Values:
    return {"momentum": h["momentum"], "on": h["momentum"] != 0}


def _with_momentum(update: Tensor, state: State, c: Values) -> Tensor:
    """The momentum buffers after they have taken in an update; for rows with momentum off, the update itself."""
    on = c["on"]
    mixed = isinstance(on, Tensor)
    if "momentum_buffer" not in state:
        state["momentum_buffer"] = update.clone()
        if mixed:
            state[BEGUN] = on != 0
        return state["momentum_buffer"]
    buffer = state["momentum_buffer"]
    if not mixed and BEGUN not in state:
        return averaged(state, "momentum_buffer", update, c["momentum"], c["fresh"])
    begun = _begun(state, update)
    moved = torch.where(begun, buffer * c["momentum"] + update * c["fresh"], update)
    if not mixed:
        del state[BEGUN]
        state["momentum_buffer"] = moved
        return moved
    uses = on != 0
    state["momentum_buffer"], state[BEGUN] = torch.where(uses, moved, buffer), begun | uses
    return torch.where(uses, moved, update)


def _begun(state: State, like: Tensor) -> Tensor:
    """Which rows have momentum buffers: where nothing is said, all of them as soon as there are any."""
    if BEGUN in state:
        return state[BEGUN]
    shape = len(like), *[1] * (like.dim() - 1)
    return torch.full(shape, "momentum_buffer" in state, device=like.device)
