"""Rows taken by an index and summed up by one, as in networks on graphs: for all models at once what each gets by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from tests.fit.fused.digits import Classifier, assert_the_same_alone
from tests.fit.fused.test_overrides import ROWS, assert_alike, together

INDEX = torch.tensor([3, 0, 0, 4, 3, 3, 1])
OF_EACH = torch.stack([INDEX, INDEX.flip(0), INDEX.roll(2)])


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 1), (5, 2, 3)])
def test_rows_by_an_index(shape):
    input = torch.randn(ROWS, *shape)
    assert_alike(lambda input: input.index_select(0, INDEX), input)
    assert_alike(lambda input: torch.index_select(input, -len(shape), INDEX), input)
    assert_alike(lambda input: torch.index_select(input, dim=len(shape) - 1, index=INDEX[-1:] - 1), input)
    assert_alike(lambda input, index: input.index_select(0, index), input, OF_EACH)


@pytest.mark.parametrize("shape", [(4,), (1,), (2, 3)])
def test_sums_of_rows(shape):
    index = INDEX.view(-1, *[1] * len(shape)).expand(-1, *shape)
    src, start = torch.randn(ROWS, 7, *shape), torch.randn(ROWS, 5, *shape)
    assert_alike(lambda src: src.new_zeros(5, *shape).scatter_add_(0, index, src), src)
    assert_alike(lambda start, src: start.scatter_add(0, index, src), start, src)
    assert_alike(lambda start, src: torch.scatter_add(start, -1 - len(shape), index, src), start, src)
    # As wide as it is, but not known to be of whole rows; not by rows; of single numbers.
    assert_alike(lambda src: src.new_zeros(5, *shape).scatter_add_(0, index.contiguous(), src), src)
    assert_alike(lambda src: src.new_zeros(7, *shape).scatter_add_(len(shape), torch.zeros_like(index), src), src)
    assert_alike(lambda src: src.new_zeros(5).scatter_add_(0, INDEX, src.flatten(1)[:, 0]), src)


def test_sums_of_no_rows():
    assert_alike(
        lambda src: src.new_zeros(5, 4).scatter_add_(0, INDEX[:0, None].expand(-1, 4), src[:0]), torch.randn(ROWS, 7, 4)
    )


class Copies(TorchDispatchMode):
    """Counts the numbers in each index that is made as large as what it is for."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for each in args:
            if isinstance(each, torch.Tensor) and each.dtype == torch.int64:
                self.largest = max(self.largest, each.numel())
        return func(*args, **(kwargs or {}))


def test_no_index_is_copied_for_each_model_and_feature():
    def message(input):
        taken = input.index_select(-2, INDEX)
        return input.new_zeros(5, 4).scatter_add_(0, INDEX[:, None].expand_as(taken), taken)

    input = torch.randn(ROWS, 5, 4, requires_grad=True)
    with Copies() as copies:
        together(message, input).sum().backward()
    assert copies.largest <= 4 * len(INDEX)


IMAGES, LABELS = load_digits(return_X_y=True)
EDGES = torch.tensor(np.stack(kneighbors_graph(IMAGES[:300], 5).nonzero())).long()


class OnGraph(Classifier):
    """Sees of each digit what those like it are."""

    def make(self):
        self.lin = nn.Linear(64, 16)
        return nn.Linear(32, 10)

    def features(self, images):
        own = self.lin(images).relu()
        messages = own.index_select(-2, EDGES[1])
        return torch.cat([own, own.new_zeros(own.shape).scatter_add_(0, EDGES[:1].T.expand_as(messages), messages) / 5], dim=1)

    def step(self, batch, some):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(self.features(images[0]))[some], labels[0][some])

    def training_step(self, batch, batch_idx):
        return self.step(batch, torch.arange(300) < 200)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.step(batch, torch.arange(300) >= 200))


def whole_graph():
    graph = [(torch.tensor(IMAGES[:300], dtype=torch.float32) / 16, torch.tensor(LABELS[:300]))]
    return DataLoader(graph), DataLoader(graph)


def test_a_network_on_a_graph_ends_as_it_does_by_itself(tmp_path):
    assert_the_same_alone(OnGraph, tmp_path, data=whole_graph)
