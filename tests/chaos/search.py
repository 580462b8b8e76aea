"""The search that the chaos test kills: short trials on digits in worker processes, into the folder that is named.

python tests/chaos/search.py ROOT TRIALS
"""

from __future__ import annotations

import sys

import torch
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

from examples.digits import DigitsData, LitDigits
from lightning_hp import Babysitter, Log, LogInt, ReverseLog, SearchLoop

EPOCHS = 5


class Data(DigitsData):
    """Digits that another process loads, one that is started anew each epoch."""

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True, num_workers=1)


class Module(LitDigits):
    """Digits with a schedule that looks at the metric, which a naive resume gets wrong."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


def main(root: str, trials: int) -> None:
    torch.set_num_threads(1)
    SearchLoop(
        Module,
        space={"lr": Log(1e-2, 1.0), "momentum": ReverseLog(0.5, 0.99), "data.batch_size": LogInt(16, 64)},
        data=Data,
        monitor="val_loss",
        trials=trials,
        trainer={"max_epochs": EPOCHS, "accelerator": "cpu"},
        babysit=Babysitter(patience=2),
        executor="processes",
        # So that the tables can be compared to the last digit.
        fuse="never",
        workers=2,
        # Every kill of a worker costs a try.
        retries=10**6,
        root_dir=root,
        progress=False,
    ).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
