"""Handwritten digits: a small classifier in plain Lightning style, and a search over seven of its hyperparameters.

    python examples/digits.py

The data are the 1,797 images that come with scikit-learn. Nothing here knows about lightning_hp but the last function.
"""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split
from torchmetrics.classification import MulticlassAccuracy

from lightning_hp import Choice, Int, Log, LogInt, ReverseLog, SearchLoop

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class LitDigits(LightningModule):
    """A multilayer perceptron for images of 8 x 8 pixels, trained by SGD with momentum."""

    def __init__(
        self,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        hidden: int = 64,
        layers: int = 2,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        widths = [64] + [hidden] * layers
        blocks = [nn.Sequential(nn.Linear(a, b), ACTIVATIONS[activation]()) for a, b in zip(widths, widths[1:])]
        self.net = nn.Sequential(*blocks, nn.Linear(hidden, 10))
        self.loss = nn.CrossEntropyLoss()
        self.val_acc = MulticlassAccuracy(num_classes=10, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.loss(self(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.val_acc(logits, y)
        self.log("val_loss", self.loss(logits, y), prog_bar=True)
        self.log("val_acc", self.val_acc, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        h = self.hparams
        return torch.optim.SGD(self.parameters(), lr=h.lr, momentum=h.momentum, weight_decay=h.weight_decay)


class DigitsData(LightningDataModule):
    """1,437 images to train on and 360 to validate, pixels scaled to [0, 1]."""

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.train: Subset[tuple[Tensor, ...]]
        self.val: Subset[tuple[Tensor, ...]]

    def setup(self, stage: str) -> None:
        images, labels = load_digits(return_X_y=True)
        dataset = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
        self.train, self.val = random_split(dataset, [0.8, 0.2])

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self.val, batch_size=512)


def main() -> None:
    loop = SearchLoop(
        LitDigits,
        data=DigitsData,
        space={
            "lr": Log(1e-3, 1.0),
            "momentum": ReverseLog(0.5, 0.99),
            "weight_decay": Log(1e-6, 1e-2),
            "hidden": Int(32, 128),
            "layers": Int(1, 3),
            "activation": Choice("relu", "tanh", "gelu"),
            "data.batch_size": LogInt(16, 128),
        },
        monitor="val_acc",
        mode="max",
        trials=8,
        trainer={"max_epochs": 15},
        root_dir="runs/digits-example",
    )
    study = loop.run()
    best = study.best
    print(f"best: trial {best.number}, val_acc {best.value:.4f}, {best.hparams}")
    print(f"its model: {best.load().__class__.__name__} from {best.checkpoint}")


if __name__ == "__main__":
    main()
