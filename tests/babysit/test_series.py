"""The gradient's norm, of all gradients that an optimizer steps by."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lightning_hp.babysit.series import gradient_norm


def norm(*parameters):
    optimizer = torch.optim.SGD([{"params": [parameter]} for parameter in parameters], lr=0.1)
    return gradient_norm(SimpleNamespace(precision_plugin=None, optimizers=[optimizer]), optimizer)


def parameter(gradient):
    made = nn.Parameter(torch.zeros(2, 2))
    made.grad = gradient
    return made


def test_it_is_the_norm_of_all_gradients_that_there_are():
    assert norm(parameter(torch.full((2, 2), 3.0)), parameter(None), parameter(torch.full((2, 2), -4.0))) == pytest.approx(10.0)


def test_sparse_gradients_are_left_out():
    assert norm(parameter(torch.eye(2)), parameter(torch.eye(2).to_sparse())) == pytest.approx(2**0.5)


def test_without_a_gradient_there_is_none():
    assert norm(parameter(None)) is None


def test_another_optimizer_than_the_first_has_none():
    first, second = (torch.optim.SGD([parameter(torch.eye(2))], lr=0.1) for _ in range(2))
    assert gradient_norm(SimpleNamespace(precision_plugin=None, optimizers=[first, second]), second) is None
