"""Small modules in the style of Lightning's documentation, for configs to name."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Encoder(nn.Module):
    def __init__(self, width: int = 4, slope: float = 0.1) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(2, width), nn.LeakyReLU(slope))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Blobs(LightningDataModule):
    """Two clouds of points."""

    def __init__(self, batch_size: int = 16, spread: float = 0.5) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.spread = spread
        self.num_classes = 2

    def setup(self, stage: str) -> None:
        labels = torch.arange(64) % 2
        points = labels.unsqueeze(1) + self.spread * torch.randn(64, 2)
        self.points = TensorDataset(points, labels)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.points, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.points, batch_size=64)


class Base(LightningModule):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Net(Base):
    """One layer between two."""

    def __init__(self, lr: float = 0.1, width: int = 4, batch_size: int = 1, num_classes: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = nn.Sequential(Encoder(width), nn.Linear(width, num_classes))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class WithParts(Base):
    """A module whose encoder and optimizer are given to it."""

    def __init__(
        self, encoder: nn.Module, optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(parameters, lr=0.1)
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.optimizer = optimizer
        self.net = nn.Sequential(encoder, nn.Linear(encoder.width, 2))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())


class Open(Net):
    """A module that takes what it does not name."""

    def __init__(self, lr: float = 0.1, **others: object) -> None:
        LightningModule.__init__(self)
        self.others = others
        self.lr = lr
        self.net = nn.Sequential(Encoder(others.get("width", 4)), nn.Linear(others.get("width", 4), 2))
