"""Updates of stacked parameters, of the optimizers that are kin to Adam; `RULES` has all that there are."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, optim

from lightning_hp.fit.fused import rules
from lightning_hp.fit.fused.rules import Rule, State, Steps, Values, averaged, averaged_square, descend, entry, powers, prepared
from lightning_hp.fit.fused.trees import per_row


def adam_coefficients(h: Values, step: Steps, decoupled: bool = False) -> Values:
    beta1, beta2 = h["betas"]
    # Before torch 2.7 only AdamW decoupled it, and no group said so.
    decoupled = decoupled or h.get("decoupled_weight_decay", False)
    return {
        "rate": h["lr"] / (1 - powers(beta1, step)),
        **_averages(beta1, beta2),
        "bias": np.sqrt(1 - powers(beta2, step)),
        "eps": h["eps"],
        "amsgrad": h.get("amsgrad", False),
        **_decay(h, decoupled),
    }


def adam(parameter: Tensor, gradient: Tensor, state: State, c: Values) -> None:
    gradient = _decayed(parameter, gradient, c)
    mean, square = _moments(state, gradient, c)
    if c["amsgrad"]:
        square = torch.maximum(entry(state, "max_exp_avg_sq", gradient), square, out=state["max_exp_avg_sq"])
    denominator = square.sqrt().div_(c["bias"]).add_(c["eps"])
    descend(parameter, mean / denominator, c["rate"])


def nadam_coefficients(h: Values, step: Steps) -> Values:
    beta1, beta2 = h["betas"]
    now = beta1 * (1 - 0.5 * powers(0.96, step * h["momentum_decay"]))
    coming = beta1 * (1 - 0.5 * powers(0.96, (step + 1) * h["momentum_decay"]))
    return {
        "now": now,
        "coming": coming,
        "gradient_rate": h["lr"] * (1 - now),
        "mean_rate": h["lr"] * coming,
        **_averages(beta1, beta2),
        "bias": 1 - powers(beta2, step),
        "eps": h["eps"],
        **_decay(h, h.get("decoupled_weight_decay", False)),
    }


def nadam(parameter: Tensor, gradient: Tensor, state: State, c: Values) -> None:
    gradient = _decayed(parameter, gradient, c)
    mean, square = _moments(state, gradient, c)
    # One number per row, in torch's own shape: none.
    product = state.setdefault("mu_product", torch.full((len(parameter),), rules.FIRST["mu_product"], device=parameter.device))
    product.mul_(c["now"].flatten() if isinstance(c["now"], Tensor) else c["now"])
    so_far = per_row(product, parameter)
    denominator = (square / c["bias"]).sqrt_().add_(c["eps"])
    update = gradient * (c["gradient_rate"] / (1 - so_far)) + mean * (c["mean_rate"] / (1 - so_far * c["coming"]))
    parameter.sub_(update / denominator)


def radam_coefficients(h: Values, step: Steps) -> Values:
    beta1, beta2 = h["betas"]
    bias = 1 - powers(beta2, step)
    longest = np.asarray(2 / (1 - beta2) - 1)
    length = longest - 2 * step * powers(beta2, step) / bias
    long_enough = length > 5.0
    # Of the others no root is taken in earnest.
    with np.errstate(all="ignore"):
        root = np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length) * bias)
    return {
        "rate": h["lr"] / (1 - powers(beta1, step)),
        **_averages(beta1, beta2),
        "adaptive": np.where(long_enough, root, 0.0),
        "plain": np.where(long_enough, 0.0, 1.0),
        "eps": h["eps"],
        **_decay(h, h.get("decoupled_weight_decay", False)),
    }


def radam(parameter: Tensor, gradient: Tensor, state: State, c: Values) -> None:
    gradient = _decayed(parameter, gradient, c)
    mean, square = _moments(state, gradient, c)
    descend(parameter, mean * (c["adaptive"] / square.sqrt().add_(c["eps"]) + c["plain"]), c["rate"])


def adamax_coefficients(h: Values, step: Steps) -> Values:
    beta1, beta2 = h["betas"]
    return {
        "rate": h["lr"] / (1 - powers(beta1, step)),
        **_averages(beta1, beta2),
        "eps": h["eps"],
        **_decay(h, False),
    }


def adamax(parameter: Tensor, gradient: Tensor, state: State, c: Values) -> None:
    gradient = prepared(parameter, gradient, c)
    mean = averaged(state, "exp_avg", gradient, c["beta1"], c["new1"])
    largest = entry(state, "exp_inf", gradient).mul_(c["beta2"])
    torch.maximum(largest, gradient.abs().add_(c["eps"]), out=largest)
    descend(parameter, mean / largest, c["rate"])


def _averages(beta1: float, beta2: float) -> Values:
    return {"beta1": beta1, "new1": 1 - beta1, "beta2": beta2, "new2": 1 - beta2}


def _decay(h: Values, decoupled: bool) -> Values:
    """Weight decay, through the gradient or by shrinking the parameter."""
    decay = h["weight_decay"]
    shrunk = 1 - h["lr"] * decay if decoupled else 1.0
    return {"weight_decay": 0.0 if decoupled else decay, "shrunk": shrunk, "maximize": h.get("maximize", False)}


def _decayed(parameter: Tensor, gradient: Tensor, c: Values) -> Tensor:
    if isinstance(c["shrunk"], Tensor) or c["shrunk"] != 1:
        parameter.mul_(c["shrunk"])
    return prepared(parameter, gradient, c)


def _moments(state: State, gradient: Tensor, c: Values) -> tuple[Tensor, Tensor]:
    mean = averaged(state, "exp_avg", gradient, c["beta1"], c["new1"])
    return mean, averaged_square(state, "exp_avg_sq", gradient, c["beta2"], c["new2"])


# Exactly these classes: a subclass may do anything.
RULES: dict[type[optim.Optimizer], Rule] = {
    optim.SGD: Rule(rules.sgd_coefficients, rules.sgd, counts=False),
    optim.RMSprop: Rule(rules.rmsprop_coefficients, rules.rmsprop, counts=False),
    optim.Adagrad: Rule(rules.adagrad_coefficients, rules.adagrad),
    optim.Adadelta: Rule(rules.adadelta_coefficients, rules.adadelta, counts=False),
    optim.Adam: Rule(adam_coefficients, adam),
    optim.AdamW: Rule(partial(adam_coefficients, decoupled=True), adam),
    optim.NAdam: Rule(nadam_coefficients, nadam),
    optim.RAdam: Rule(radam_coefficients, radam),
    optim.Adamax: Rule(adamax_coefficients, adamax),
}
# What a rule branches on; it has to be the same in all rows.
SWITCHES = frozenset({"maximize", "nesterov", "amsgrad", "centered", "decoupled_weight_decay"})
