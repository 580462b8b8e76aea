"""Functions of torch give for a number of each row's own what they give for that number."""

from __future__ import annotations

import pytest
import torch
from torch.func import grad_and_value, vmap
from torch.nn import functional as f

from lightning_hp.fit.fused.by_number import BY_NUMBER
from lightning_hp.fit.fused.overrides import Vectorizable

X = torch.linspace(-3, 3, 24).reshape(4, 6)
Y, Z = X.flip(1) / 2, X.roll(1, 0).square()
NUMBERS = torch.tensor([0.2, 0.5, 1.3])

CALLS = {
    "leaky_relu": lambda x, number: f.leaky_relu(x, number),
    "elu": lambda x, number: f.elu(x * 50, number),
    "celu": lambda x, number: f.celu(x * 50, number),
    "softplus": lambda x, number: f.softplus(x * 50, number),
    "softplus with a threshold": lambda x, number: f.softplus(x, 2.0, threshold=number),
    "hardtanh": lambda x, number: f.hardtanh(x, -number, number),
    "huber": lambda x, number: f.huber_loss(x, Y, delta=number),
    "huber, summed up": lambda x, number: f.huber_loss(x, Y, reduction="sum", delta=number),
    "smooth_l1": lambda x, number: f.smooth_l1_loss(x, Y, beta=number, reduction="none"),
    "smooth_l1 without a square": lambda x, number: f.smooth_l1_loss(x, Y, beta=number * 0),
    "ranking": lambda x, number: f.margin_ranking_loss(x, Y, Y.sign(), margin=number),
    "triplet": lambda x, number: f.triplet_margin_loss(x, Y, Z, margin=number),
    "triplet, swapped": lambda x, number: f.triplet_margin_loss(x, Y, Z, margin=number, swap=True, reduction="sum"),
    "full": lambda x, number: x * torch.full((6,), number),
    "full_like": lambda x, number: x * torch.full_like(x, number),
    "tensor": lambda x, number: x * torch.tensor([1, 0.5, number, 2, number, 0]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_value_and_gradient_are_the_same(call):
    def summed(x, number):
        value = call(x, number)
        return value.sum(), value

    # As each trial by itself has it.
    alone = [grad_and_value(summed, has_aux=True)(X, float(number)) for number in NUMBERS]
    with Vectorizable():
        together = vmap(grad_and_value(summed, has_aux=True), in_dims=(None, 0))(X, NUMBERS)
    for row, (gradient, (_, value)) in enumerate(alone):
        torch.testing.assert_close(together[1][1][row], value)
        torch.testing.assert_close(together[0][row], gradient)


@pytest.mark.parametrize("function", BY_NUMBER, ids=lambda function: function.__name__)
def test_each_is_tried(function):
    assert any(function.__name__ in call.__code__.co_names for call in CALLS.values())


def test_whole_numbers_make_whole_tensors():
    def make(number):
        return torch.tensor([1, number]), torch.full((2,), number), torch.tensor([1, number], dtype=torch.half)

    with Vectorizable():
        made = vmap(make)(torch.tensor([2, 3]))
    assert [each.dtype for each in made] == [torch.int64, torch.int64, torch.half]
    assert made[0].tolist() == [[1, 2], [1, 3]]
