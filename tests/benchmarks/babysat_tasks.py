"""Three real tasks to be babysat on: a plain LightningModule under SGD with momentum, trained in about two seconds on one core.

`digits`: a convolutional network tells scikit-learn's 1,797 digits apart. `photo`: a multilayer perceptron fills in the middle
of 8 x 8 patches of scikit-learn's photograph of a temple from what surrounds it. It learns from 48,000 patches, each seen five
times or so, so that how well the network is optimised decides, and not, as with the 442 patients of scikit-learn's regression
data, when it has learned them by heart. `code`: a causal convolutional language model of the characters of Python's own library
source.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from sklearn.datasets import load_digits, load_sample_image
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

RIGHT = Path(__file__).parent / "tables" / "babysat.json"
MONITOR = "val_loss"
EPOCHS = 30
Loss = Callable[[Tensor, Tensor], Tensor]
Loaders = tuple[DataLoader[Any], DataLoader[Any]]
# What an optimizer's schedule is made of: the optimizer, the steps of the fit, and its epochs.
Schedule = Callable[[torch.optim.Optimizer, int, int], dict[str, Any]]


class Learner(LightningModule):
    """A network, its loss, SGD with momentum, and a schedule if there shall be one."""

    def __init__(
        self,
        net: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        lr: float,
        momentum: float,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.net, self.loss, self.lr, self.momentum, self.schedule = net, loss, lr, momentum, schedule

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log(MONITOR, self.loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=self.momentum)
        if self.schedule is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": self.schedule(optimizer, steps, self.trainer.max_epochs or 1)}


class Causal(nn.Module):
    """A convolution over a text's characters that sees none to come."""

    def __init__(self, channels: int, out: int, width: int, dilation: int) -> None:
        super().__init__()
        self.before = (width - 1) * dilation
        self.convolution = nn.Conv1d(channels, out, width, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.convolution(nn.functional.pad(x, (self.before, 0)))
        return convolved


class LanguageModel(nn.Module):
    """Scores each next character by the eleven up to here."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(128, 16)
        self.layers = nn.Sequential(Causal(16, 48, 4, 1), nn.ReLU(), Causal(48, 48, 3, 4), nn.ReLU(), nn.Conv1d(48, 128, 1))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(self.embedding(x).transpose(1, 2))
        return scores


def digits_net() -> nn.Module:
    first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(nn.Unflatten(1, (1, 8)), first, second, nn.Flatten(), nn.Linear(256, 10))


def photo_net() -> nn.Module:
    return nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))


@cache
def digits() -> tuple[TensorDataset, TensorDataset]:
    images = load_digits()
    order = _mixed(len(images.target))
    x, y = torch.tensor(images.images, dtype=torch.float32)[order] / 16, torch.tensor(images.target)[order]
    return TensorDataset(x[:1408], y[:1408]), TensorDataset(x[1408:], y[1408:])


@cache
def photo() -> tuple[TensorDataset, TensorDataset]:
    grey = torch.tensor(load_sample_image("china.jpg"), dtype=torch.float32).mean(2)
    # One stripe in four is for validation; no patch lies across two.
    stripes = grey.unfold(1, 40, 40).permute(1, 0, 2)
    patches = stripes.unfold(1, 8, 1).unfold(2, 8, 1).flatten(1, 2).flatten(2)
    middle = torch.zeros(8, 8, dtype=torch.bool)
    middle[2:6, 2:6] = True
    around, inside = patches[..., ~middle.flatten()], patches[..., middle.flatten()]
    mean = around.mean(-1, keepdim=True)
    x, y = (around - mean) / (around - mean).std(), (inside - mean) / (inside - mean).std()
    train, val = [each for each in range(16) if each % 4 != 1], [each for each in range(16) if each % 4 == 1]
    return _some(x[train].flatten(0, 1), y[train].flatten(0, 1), 48000), _some(x[val].flatten(0, 1), y[val].flatten(0, 1), 2000)


@cache
def code() -> tuple[TensorDataset, TensorDataset]:
    texts = [Path(module.__file__).read_text(encoding="utf-8") for module in (argparse, tempfile, textwrap)]
    characters = torch.tensor([min(ord(character), 127) for character in "".join(texts)])
    windows = characters.unfold(0, 65, 64)
    held_out = torch.arange(len(windows)) % 8 == 5
    train, val = windows[~held_out], windows[held_out]
    return TensorDataset(train[:, :-1], train[:, 1:]), TensorDataset(val[:, :-1], val[:, 1:])


def _mixed(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def _some(x: Tensor, y: Tensor, count: int) -> TensorDataset:
    order = _mixed(len(x))[:count]
    return TensorDataset(x[order], y[order])


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    Attributes:
        net: makes the network.
        loss: of its output and what it should have been.
        data: makes what to train on and what to validate on.
        batch_size: of training.
        steps: in an epoch; None for as many as the data have.
    """

    net: Callable[[], nn.Module]
    loss: Loss
    data: Callable[[], tuple[TensorDataset, TensorDataset]]
    batch_size: int
    steps: int | None = None

    def model(self, lr: float, momentum: float, schedule: Schedule | None = None) -> LightningModule:
        return Learner(self.net(), self.loss, lr, momentum, schedule)

    def loaders(self, seed: int = 0) -> Loaders:
        """Batches in an order that only the seed decides."""
        train, val = self.data()
        drawn = None if self.steps is None else self.steps * self.batch_size
        order = RandomSampler(train, num_samples=drawn, generator=torch.Generator().manual_seed(seed))
        # Batches as the dataset's own slices: collating sample after sample takes as long as a step of these networks.
        return (
            DataLoader(train, sampler=BatchSampler(order, self.batch_size, drop_last=True), batch_size=None),
            DataLoader(val, sampler=BatchSampler(SequentialSampler(val), len(val), drop_last=False), batch_size=None),
        )


TASKS = {
    "digits": Task(digits_net, nn.functional.cross_entropy, digits, batch_size=64),
    "photo": Task(photo_net, nn.functional.mse_loss, photo, batch_size=128, steps=62),
    "code": Task(LanguageModel, nn.functional.cross_entropy, code, batch_size=8, steps=24),
}


def right(name: str) -> dict[str, float]:
    """The lr and momentum that the search has found best at a constant lr."""
    found = json.loads(RIGHT.read_text())[name]
    return {"lr": found["lr"], "momentum": found["momentum"]}
