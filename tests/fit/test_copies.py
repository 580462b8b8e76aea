"""Lazy copies share memory until one is written to, by whatever way."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from lightning_hp.fit.copies import address, apart, hold_once, is_lazy, lazy_copy, same

READING = {
    "computing": lambda tensor: tensor @ tensor,
    "a linear layer": lambda tensor: nn.functional.linear(torch.ones(2, 3), tensor),
    "within vmap": lambda tensor: torch.func.vmap(lambda row: tensor @ row)(torch.ones(4, 3)),
    "cloning": torch.clone,
    "comparing": lambda tensor: torch.equal(tensor, torch.ones(3, 3)),
    "deepcopy": copy.deepcopy,
    "a state_dict": lambda tensor: nn.ParameterList([tensor]).state_dict(),
    "taking rows": lambda tensor: tensor[1].sum(),
    "stacking": lambda tensor: torch.stack([tensor, tensor]),
    "tolist": torch.Tensor.tolist,
}


def in_place(tensor):
    with torch.no_grad():
        tensor.mul_(2)


def by_numpy(tensor):
    tensor.detach().numpy()[:] = 7


WRITING = {
    "in place": in_place,
    "by .data": lambda tensor: tensor.data.add_(1),
    "by a view": lambda tensor: tensor.detach()[0].zero_(),
    "by numpy": by_numpy,
    "load_state_dict": lambda tensor: nn.ParameterList([tensor]).load_state_dict({"0": torch.rand(3, 3)}),
}


def frozen():
    return nn.Parameter(torch.arange(9.0).view(3, 3), requires_grad=False)


@pytest.mark.parametrize("read", READING)
def test_reading_takes_no_memory(read):
    first = frozen()
    second = frozen()
    second.data = lazy_copy(first)
    READING[read](second)
    assert is_lazy(second)
    assert address(first) == address(second)


@pytest.mark.parametrize("write", WRITING)
@pytest.mark.parametrize("to", [0, 1], ids=["the original", "the copy"])
def test_what_is_written_to_one_is_not_in_the_other(write, to):
    tensors = [frozen(), frozen()]
    tensors[1].data = lazy_copy(tensors[0])
    WRITING[write](tensors[to])
    assert torch.equal(tensors[1 - to], frozen())
    assert not torch.equal(tensors[to], frozen())
    assert address(tensors[0]) != address(tensors[1])


def test_views_and_memory_of_others_are_copied_at_once():
    stack = torch.rand(3, 4)
    for tensor in (stack[1], torch.from_numpy(np.ones(3)), torch.arange(3).expand(2, 3)):
        copied = lazy_copy(tensor)
        assert torch.equal(copied, tensor)
        assert address(copied) != address(tensor)
    assert not is_lazy(stack)


def test_the_address_is_that_of_the_first_element():
    stack = torch.rand(3, 4)
    assert [address(row) for row in stack] == [row.data_ptr() for row in stack]


def test_a_row_or_a_lazy_copy_is_whole_in_a_file():
    stack, weight = torch.rand(100, 1000), torch.rand(1000)
    copied = lazy_copy(weight)
    for tensor in (stack[3], copied):
        file = io.BytesIO()
        torch.save(apart(tensor), file)
        assert file.tell() < 6000
        file.seek(0)
        assert torch.equal(torch.load(file, weights_only=True), tensor)
    # The file's copy has got memory of its own.
    assert address(copied) == address(weight)


def test_only_what_is_the_same_is_held_once():
    one, other = (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)) for _ in range(2))
    other[0].load_state_dict(one[0].state_dict())
    before = copy.deepcopy(other.state_dict())
    hold_once(other, one)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    held = {name for name, tensor in other.state_dict().items() if address(tensor) == address(one.state_dict()[name])}
    assert held == {name for name in before if not name.startswith("2.")}


@pytest.mark.parametrize(
    "other", [torch.ones(3, dtype=torch.float64), torch.ones(1, 3), torch.zeros(3), torch.full((3,), torch.nan)], ids=str
)
def test_tensors_of_other_kinds_or_values_are_not_the_same(other):
    assert same([torch.ones(3), torch.ones(3)])
    assert not same([torch.ones(3), other])
