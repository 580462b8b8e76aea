"""What the zoo trains on: scikit-learn's bundled sets, and the text of Python's own library."""

from __future__ import annotations

import inspect
import json
import string
import textwrap
from collections.abc import Callable
from functools import cache

import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

Loaders = tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]
CHARACTERS = string.printable
BLOCK = 32
WORDS = 500


def loaders(*tensors: Tensor, batch_size: int = 64) -> Loaders:
    """The first four fifths for training, the rest for validation."""
    cut = len(tensors[0]) * 4 // 5
    train, val = (TensorDataset(*(tensor[part] for tensor in tensors)) for part in (slice(cut), slice(cut, None)))
    # Whole batches only, since some carry a state of a batch's size to the next.
    return DataLoader(train, batch_size=batch_size, shuffle=True, drop_last=True), DataLoader(val, batch_size=128)


@cache
def _digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels)


def digits() -> Loaders:
    return loaders(*_digits())


def large_digits() -> Loaders:
    """As large as those of MNIST."""
    images, labels = _digits()
    return loaders(torch.nn.functional.interpolate(images[:320], size=(28, 28)), labels[:320], batch_size=16)


def rows_of_digits() -> Loaders:
    """Each image as a sequence of eight rows."""
    images, labels = _digits()
    return loaders(images.squeeze(1), labels)


def noisy_digits() -> Loaders:
    """Which pixels of a noisy image belong to the digit."""
    images, _ = _digits()
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return loaders(images + 0.3 * noise, (images > 0.4).float())


def pairs_of_digits() -> Loaders:
    """Two images, and whether they show the same digit."""
    images, labels = _digits()
    # Half of the pairs alike: each image with the next of its kind, or with a neighbour.
    order = labels.argsort(stable=True)
    other = torch.where(torch.arange(len(order)) % 2 == 0, order.roll(-1), order[torch.arange(len(order)) * 7 % len(order)])
    shuffled = torch.randperm(len(order), generator=torch.Generator().manual_seed(0))
    first, second = order[shuffled], other[shuffled]
    return loaders(images[first], images[second], (labels[first] == labels[second]).float())


def diabetes() -> Loaders:
    features, target = load_diabetes(return_X_y=True)
    x, y = torch.tensor(features, dtype=torch.float32), torch.tensor(target, dtype=torch.float32)
    return loaders(20 * x, (y - y.mean()) / y.std(), batch_size=32)


@cache
def _text() -> Tensor:
    source = inspect.getsource(textwrap) + inspect.getsource(json)
    return torch.tensor([CHARACTERS.index(character) for character in source if character in CHARACTERS])


def text() -> Loaders:
    """Blocks of characters, and the same one character on."""
    ids = _text()
    blocks = (
        ids[: (len(ids) - 1) // BLOCK * BLOCK].view(-1, BLOCK),
        ids[1 : (len(ids) - 1) // BLOCK * BLOCK + 1].view(-1, BLOCK),
    )
    return loaders(*blocks)


def lines() -> Loaders:
    """Lines as the ids of eight words, 0 where there are fewer, and which module they are from."""
    modules: list[Callable[[], str]] = [lambda: inspect.getsource(textwrap), lambda: inspect.getsource(json)]
    found, labels = [], []
    for label, source in enumerate(modules):
        for line in source().splitlines():
            # The same in each process, unlike hash().
            ids = [1 + sum(map(ord, word)) % (WORDS - 1) for word in line.split()][:8]
            found.append(ids + [0] * (8 - len(ids)))
            labels.append(label)
    shuffled = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    return loaders(torch.tensor(found)[shuffled], torch.tensor(labels)[shuffled])
