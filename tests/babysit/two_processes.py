"""A fit of two processes that share digits, as a script: Lightning starts the second process by running it again.

    python tests/babysit/two_processes.py FOLDER METRIC SCHEDULER

Each process writes the lr and momentum of every step and its last weights to FOLDER/rank0.json or rank1.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from examples.digits import DigitsData, LitDigits
from lightning_hp import Babysitter


class ShardedDigits(LitDigits):
    """Digits with a metric of each process's own: rank 0's stands still, rank 1's gets better, or is not logged.

    With "nan on rank 1" the loss of that process explodes once.
    """

    def __init__(self, metric: str, scheduler: str) -> None:
        super().__init__(hidden=8, layers=1)
        self.metric = metric
        self.scheduler = scheduler
        self.seen: list[tuple[float, float]] = []

    def on_train_batch_start(self, batch, batch_idx) -> None:
        group = self.trainer.optimizers[0].param_groups[0]
        self.seen.append((group["lr"], group["momentum"]))

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        exploded = self.metric == "nan on rank 1" and self.global_rank == 1 and (self.current_epoch, batch_idx) == (2, 1)
        return loss * float("nan") if exploded else loss

    def on_validation_epoch_end(self) -> None:
        apart = self.metric not in ("equal", "nan on rank 1") and self.global_rank == 1
        if self.metric != "on no rank" and not (apart and self.metric == "on rank 0 only"):
            self.log("score", 1.0 - 0.1 * self.current_epoch if apart else 1.0)

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        if self.scheduler == "none":
            return optimizer
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "train_loss"}}

    def on_train_end(self) -> None:
        weights = [float(weight.sum()) for weight in self.parameters()]
        told = {"rank": self.global_rank, "seen": self.seen, "weights": weights}
        (Path(self.trainer.default_root_dir) / f"rank{self.global_rank}.json").write_text(json.dumps(told))


def main(folder: str, metric: str, scheduler: str) -> None:
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=6,
        limit_train_batches=3,
        default_root_dir=folder,
        logger=TensorBoardLogger(folder, name="", version="run"),
        callbacks=[Babysitter("score", patience=1), ModelCheckpoint(folder)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(ShardedDigits(metric, scheduler), datamodule=DigitsData(128))


if __name__ == "__main__":
    main(*sys.argv[1:])
