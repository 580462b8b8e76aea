"""Modules of which a part is frozen, with the same weights in all trials."""

from __future__ import annotations

import torch
from torch import nn

from tests.fit.fused.digits import Classifier

# Of each batch's features, whether each trial has its own.
OWN: list[bool] = []


class Seen(nn.Module):
    """Notes that of what passes."""

    def forward(self, input):
        OWN.append(torch._C._functorch.is_batchedtensor(input))
        return input


def pretrained(make):
    """The same weights in all trials, whose other ones are drawn as if there were none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def convolutional():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.MaxPool2d(4), nn.Flatten(), Seen()),
    )


class Head(Classifier):
    """Trains a layer above a frozen network, which stays in evaluation mode."""

    def make(self):
        self.backbone = pretrained(convolutional).requires_grad_(False).eval()
        return nn.Linear(32, 10)

    def training_step(self, batch, batch_idx):
        return super().training_step((self.backbone(batch[0]), batch[1]), batch_idx)

    def validation_step(self, batch, batch_idx):
        super().validation_step((self.backbone(batch[0]), batch[1]), batch_idx)


class Averaging(Head):
    """In training mode, the frozen network's normalizations go on with their averages."""

    def make(self):
        head = super().make()
        self.backbone.train()
        return head


class Normed(Averaging):
    """Has a head with averages of its own."""

    def make(self):
        return nn.Sequential(super().make(), nn.BatchNorm1d(10), nn.Linear(10, 10))


class Adapter(nn.Module):
    """A frozen layer and what is learned besides, of low rank (Hu et al., LoRA, 2022)."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down, self.up = nn.Linear(layer.in_features, 2, bias=False), nn.Linear(2, layer.out_features, bias=False)

    def forward(self, input):
        return self.layer(input) + self.up(self.down(input))


class Adapted(Classifier):
    optimizer = "adamw"

    def make(self):
        first, second = pretrained(lambda: (nn.Linear(64, 32), nn.Linear(32, 10)))
        return nn.Sequential(Adapter(first), nn.ReLU(), Adapter(second))


class Words(Classifier):
    """Pixels as words with frozen vectors and fixed positions."""

    def make(self):
        self.words = pretrained(lambda: nn.Embedding(17, 8)).requires_grad_(False)
        self.register_buffer("positions", torch.linspace(0, 1, 64).view(64, 1), persistent=False)
        return nn.Sequential(Seen(), nn.Flatten(), nn.Linear(64 * 8, 10))

    def training_step(self, batch, batch_idx):
        return super().training_step((self.words((batch[0] * 16).long()) + self.positions, batch[1]), batch_idx)

    def validation_step(self, batch, batch_idx):
        super().validation_step((self.words((batch[0] * 16).long()) + self.positions, batch[1]), batch_idx)


def attentive():
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (8, 8)), nn.TransformerEncoder(layer, 2), nn.LSTM(8, 16, batch_first=True))


class Attentive(Head):
    """A head above a transformer and a recurrent network."""

    def make(self):
        self.network, self.seen = pretrained(attentive).requires_grad_(False).eval(), Seen()
        return nn.Linear(16, 10)

    def backbone(self, input):
        return self.seen(self.network(input)[0][:, -1])
