"""Diabetes progression: a regression module, searched on a grid and then babysat.

    python examples/regression.py

The 442 patients come with scikit-learn. The objective is the mean absolute error on a fifth of them.
"""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics import MeanAbsoluteError

from lightning_hp import Babysitter, Choice, Grid, Log, SearchLoop

Loader = DataLoader[tuple[Tensor, ...]]


class LitDiabetes(LightningModule):
    """A small multilayer perceptron that predicts how far the disease has gone after a year."""

    def __init__(self, lr: float = 1e-2, weight_decay: float = 0.0, hidden: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(10, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))
        self.val_mae = MeanAbsoluteError()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        prediction = self.net(x)
        self.val_mae(prediction, y)
        self.log("val_loss", nn.functional.mse_loss(prediction, y))
        self.log("val_mae", self.val_mae)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)


class DiabetesData(LightningDataModule):
    """354 patients to train on and 88 to validate. Inputs and target are standardised: an error of 1 is 77 points."""

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        inputs, target = load_diabetes(return_X_y=True, scaled=True)
        x = torch.tensor(inputs, dtype=torch.float32) * len(inputs) ** 0.5
        y = torch.tensor(target, dtype=torch.float32)[:, None]
        self.train, self.val = random_split(TensorDataset(x, (y - y.mean()) / y.std()), [0.8, 0.2])

    def train_dataloader(self) -> Loader:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> Loader:
        return DataLoader(self.val, batch_size=512)


def main() -> None:
    loop = SearchLoop(
        LitDiabetes,
        data=DiabetesData,
        space={"lr": Log(1e-4, 1e-1), "weight_decay": Log(1e-3, 1.0), "dropout": Choice(0.0, 0.3)},
        monitor="val_mae",
        mode="min",
        strategy=Grid(points={"lr": 4, "weight_decay": 2}),
        trainer={"max_epochs": 15},
        babysit=Babysitter("val_loss", patience=3),
        root_dir="runs/regression-example",
    )
    study = loop.run()
    for trial in study.leaderboard()[:3]:
        print(f"trial {trial.number}: val_mae {trial.value:.4f} with {trial.hparams}")
    interventions = sum(len(log.read_text().splitlines()) for log in study.root.glob("trials/*/babysit.jsonl"))
    print(f"the babysitter intervened {interventions} times in {len(study.trials)} trials")


if __name__ == "__main__":
    main()
