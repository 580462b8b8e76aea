"""Classifiers of small images."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.demos.boring_classes import Net
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss, one_hot, relu
from torch.nn.utils import parametrizations


class Classifier(LightningModule):
    """What all of them have: a network, the cross entropy, SGD with momentum."""

    net: nn.Module

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.make()

    def make(self) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Any:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        accuracy = (logits.argmax(-1) == batch[1]).float().mean()
        self.log_dict({"val_loss": cross_entropy(logits, batch[1]), "val_acc": accuracy})

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=self.hparams["momentum"])


class MLP(Classifier):
    def make(self) -> None:
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class BatchNormCNN(Classifier):
    def make(self) -> None:
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(2)),
            *(nn.Flatten(), nn.Linear(64, 10)),
        )


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return relu(x + self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))


class ResNet(Classifier):
    def make(self) -> None:
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), Residual(8), nn.MaxPool2d(2), Residual(8)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
        )


class DepthwiseCNN(Classifier):
    def make(self) -> None:
        def separable(inputs: int, outputs: int) -> nn.Module:
            depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
            return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.SiLU())

        self.net = nn.Sequential(
            separable(1, 8), nn.AvgPool2d(2), separable(8, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
        )


class GroupNormCNN(Classifier):
    def make(self) -> None:
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, stride=2), nn.GroupNorm(2, 8), nn.GELU(), nn.Conv2d(8, 16, 3), nn.GroupNorm(4, 16), nn.GELU()),
            *(nn.Flatten(), nn.Linear(16, 10)),
        )


class ViT(Classifier):
    """Patches of 2 x 2 pixels, a class token, learned positions."""

    def make(self) -> None:
        self.patches = nn.Conv2d(1, 16, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
        self.net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Any:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.positions
        return self.head(self.net(tokens)[:, 0])


class WeightNorm(Classifier):
    def make(self) -> None:
        hidden = parametrizations.weight_norm(nn.Linear(64, 32))
        self.net = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), parametrizations.weight_norm(nn.Linear(32, 10)))


class SpectralNorm(Classifier):
    def make(self) -> None:
        hidden = parametrizations.spectral_norm(nn.Linear(64, 32))
        self.net = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(32, 10))


class DropoutSearched(Classifier):
    def __init__(self, lr: float, momentum: float, dropout: float) -> None:
        super().__init__(lr, momentum)

    def make(self) -> None:
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(self.hparams["dropout"]), nn.Linear(64, 10)
        )


class MixtureOfExperts(Classifier):
    """Two of four experts for each image."""

    def make(self) -> None:
        self.gate = nn.Linear(64, 4)
        self.net = nn.ModuleList(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)) for _ in range(4))

    def forward(self, x: Tensor) -> Any:
        x = x.flatten(1)
        values, indices = self.gate(x).topk(2)
        shares = values.softmax(-1)
        weights = shares.new_zeros(len(x), 4).scatter(1, indices, shares)
        experts = torch.stack([expert(x) for expert in self.net], dim=1)  # type: ignore[attr-defined]
        return (weights.unsqueeze(-1) * experts).sum(1)


class Branching(Classifier):
    """Looks at a loss before it decides."""

    def make(self) -> None:
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * 0.5 if loss > 2.0 else loss


class Averaged(MLP):
    """Validates an exponential moving average of its weights."""

    def make(self) -> None:
        super().make()
        self.average = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        ).requires_grad_(False)
        self.average.load_state_dict(self.net.state_dict())

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self.net.parameters(), strict=True):
                average.lerp_(weight, 0.1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self.average(batch[0]), batch[1]))


class MultiTask(Classifier):
    """The digit, and whether it is odd; the second one's weight is searched."""

    def __init__(self, lr: float, momentum: float, weight: float) -> None:
        super().__init__(lr, momentum)

    def make(self) -> None:
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
        self.digit, self.odd = nn.Linear(32, 10), nn.Linear(32, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        features = self(batch[0])
        digit, odd = cross_entropy(self.digit(features), batch[1]), cross_entropy(self.odd(features), batch[1] % 2)
        self.log_dict({"digit": digit, "odd": odd})
        loss: Tensor = digit + self.hparams["weight"] * odd
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self.digit(self(batch[0])), batch[1]))


class Smoothed(MLP):
    """Mixup, its strength drawn for each batch, and targets made by hand."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        share, order = torch.rand(()), torch.randperm(len(x))
        target = share * one_hot(y, 10).float() + (1 - share) * one_hot(y[order], 10).float()
        return cross_entropy(self(share * x + (1 - share) * x[order]), target)


class DemoNet(Classifier):
    """The network of Lightning's MNIST example."""

    def make(self) -> None:
        self.net = Net()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nll_loss(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nll_loss(self(batch[0]), batch[1]))
