"""A classifier of digits whose optimizer has arguments of its own, and whose layers have a width each."""

from __future__ import annotations

from itertools import pairwise

import torch
from lightning.pytorch import LightningModule
from torch import nn


class Perceptron(LightningModule):
    def __init__(
        self,
        lr: float = 0.1,
        optimizer: str = "sgd",
        momentum: float = 0.0,
        beta1: float = 0.9,
        layers: int = 1,
        units: list[int] | None = None,
    ):
        super().__init__()
        self.save_hyperparameters()
        widths = [64, *([16] * layers if units is None else units)]
        hidden = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
        self.net = nn.Sequential(*hidden, nn.Linear(widths[-1], 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        self.log("val_acc", (self.net(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        h = self.hparams
        if h.optimizer == "adam":
            return torch.optim.Adam(self.parameters(), lr=h.lr, betas=(h.beta1, 0.999))
        return torch.optim.SGD(self.parameters(), lr=h.lr, momentum=h.momentum)


def small(hparams):
    """A constraint on the number of weights."""
    widths = [64, *hparams["model.units" if "model.units" in hparams else "units"], 10]
    return sum(a * b for a, b in pairwise(widths)) < 3000


def bright(hparams):
    """A constraint on the learning rate."""
    return hparams["lr" if "lr" in hparams else "model.lr"] > 0.05
