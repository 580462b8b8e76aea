"""The gradient's norm, of all gradients that an optimizer steps by."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lightning_hp.babysit.series import NORM_EVERY, Norms, gradient_norm


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


@pytest.mark.parametrize("every", [1, 7, 16])
def test_it_is_sampled_about_every_so_many_steps_and_after_a_save_at_the_same(every):
    norms, sampled = Norms(wanted=True), []
    for step in range(1000):
        if norms.due:
            norms.add(step, 1.0)
            sampled.append(step)
        if step % every == 0:
            saved, norms = norms.state_dict(), Norms(wanted=True)
            norms.load_state_dict(saved)
            norms.look(step + 1)
    between = [after - before for before, after in pairwise(sampled)]
    assert sampled[0] == 0
    assert all(NORM_EVERY - 8 < steps < NORM_EVERY + 8 for steps in between)


def test_it_is_not_sampled_for_nobody():
    norms = Norms(wanted=False)
    assert not norms.due
    norms.look(1000)
    assert not norms.due
