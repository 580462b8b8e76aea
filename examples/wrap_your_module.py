"""Wrap the module you have: nothing in it is changed, subclassed or asked to cooperate.

    python examples/wrap_your_module.py

The first part is a module as people write them: torchmetrics, a schedule, metrics logged by step and by epoch. The last
twenty lines are all that a search needs.
"""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EarlyStopping
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from lightning_hp import Choice, Linear, Log, LogInt, ReverseLog, SearchLoop

# ---------------------------------------------------------------- what you have


class TumourClassifier(LightningModule):
    def __init__(self, width: int, learning_rate: float, beta1: float = 0.9, dropout: float = 0.1, schedule: str = "cosine"):
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Sequential(nn.Linear(30, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(width, 1)
        metrics = MetricCollection({"acc": BinaryAccuracy(), "auroc": BinaryAUROC()})
        self.train_metrics = metrics.clone(prefix="train/")
        self.val_metrics = metrics.clone(prefix="val/")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).squeeze(1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        logits = self(x)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y.float())
        self.train_metrics(logits, y)
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log_dict(self.train_metrics, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.val_metrics.update(logits, y)
        self.log("val/loss", nn.functional.binary_cross_entropy_with_logits(logits, y.float()))

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val_metrics.compute())
        self.val_metrics.reset()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate, betas=(self.hparams.beta1, 0.999))
        if self.hparams.schedule == "cosine":
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.trainer.max_epochs)]
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val/loss"}}


def tumours(batch_size: int = 32):
    inputs, labels = load_breast_cancer(return_X_y=True)
    x = torch.tensor(inputs, dtype=torch.float32)
    dataset = TensorDataset((x - x.mean(0)) / x.std(0), torch.tensor(labels))
    train, val = random_split(dataset, [0.8, 0.2])
    return DataLoader(train, batch_size=batch_size, shuffle=True), DataLoader(val, batch_size=512)


# ---------------------------------------------------------------- what you add


def main() -> None:
    study = SearchLoop(
        TumourClassifier,
        data=tumours,
        space={
            "learning_rate": Log(1e-4, 1e-1),
            "beta1": ReverseLog(0.8, 0.99),
            "width": LogInt(8, 128),
            "dropout": Linear(0.0, 0.5),
            "schedule": Choice("cosine", "plateau"),
            "data.batch_size": LogInt(16, 128),
            "trainer.gradient_clip_val": Choice(None, 1.0),
        },
        monitor="val/auroc",
        mode="max",
        trials=8,
        trainer={"max_epochs": 8, "callbacks": [lambda: EarlyStopping("val/loss", patience=4)]},
        root_dir="runs/wrap-your-module",
    ).run()
    best = study.best
    print(f"best: trial {best.number}, val/auroc {best.value:.4f}, {best.hparams}")
    model = best.load()
    print(f"a {type(model).__name__} of width {model.hparams.width}, ready to use")


if __name__ == "__main__":
    main()
