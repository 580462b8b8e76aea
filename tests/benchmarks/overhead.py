"""What a search costs besides its fits: the same fits as a bare loop over Trainer.fit and through SearchLoop, in turn.

    python tests/benchmarks/overhead.py [--trials 30] [--rounds 5] [--epochs 1]

Both sides log to TensorBoard and write the best and the last checkpoint. SearchLoop also writes each trial durably to the
study, lr and momentum curves, the HParams table, and shares the batch order. Prints the milliseconds that a trial costs more.
"""

from __future__ import annotations

import argparse
import gc
import logging
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Log, ReverseLog, SearchLoop

# Gentle enough that every epoch improves, so that both sides write equally many checkpoints.
SPACE = {"lr": Log(1e-4, 1e-2), "momentum": ReverseLog(0.5, 0.9)}


class Small(LightningModule):
    """A model so small that the fit itself takes next to nothing."""

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__()
        self.lr, self.momentum = lr, momentum
        self.net = nn.Linear(8, 1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=self.momentum)


def loaders() -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    x = torch.linspace(-1, 1, 64 * 8).reshape(64, 8)
    data = TensorDataset(x, x.sum(1, keepdim=True))
    return DataLoader(data, batch_size=16, shuffle=True), DataLoader(data, batch_size=64)


def bare(hparams: list[dict[str, float]], epochs: int, root: Path) -> None:
    for number, point in enumerate(hparams):
        folder = root / f"{number:06d}"
        seed_everything(number, verbose=False)
        train, val = loaders()
        checkpoint = ModelCheckpoint(folder / "checkpoints", "best", monitor="val_loss", save_last=True)
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="auto",
            devices=1,
            default_root_dir=folder,
            logger=TensorBoardLogger(folder, name="", version=""),
            callbacks=[checkpoint],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Small(**point), train, val)


def searched(trials: int, epochs: int, root: Path) -> None:
    SearchLoop(
        Small,
        space=SPACE,
        data=loaders,
        monitor="val_loss",
        trials=trials,
        trainer={"max_epochs": epochs},
        root_dir=root,
        progress=False,
    ).run()


def measure(trials: int, epochs: int) -> tuple[float, float]:
    """Milliseconds a trial: bare, and searched."""
    with tempfile.TemporaryDirectory() as folder:
        # The very hyperparameters that the search will draw, by a search of no more than its first trials.
        loop = SearchLoop(Small, space=SPACE, data=loaders, monitor="val_loss", trials=trials, root_dir=folder)
        hparams = loop.sampler.propose(loop.space, 0, range(trials), [])
        alone = _seconds(lambda: bare(hparams, epochs, Path(folder) / "bare"))
        with_search = _seconds(lambda: searched(trials, epochs, Path(folder) / "searched"))
    return 1e3 * alone / trials, 1e3 * with_search / trials


def _seconds(run: Callable[[], None]) -> float:
    # Each side pays for its own garbage, and not for that of the other.
    gc.collect()
    began = time.perf_counter()
    run()
    gc.collect()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    measure(3, options.epochs)
    rounds = [measure(options.trials, options.epochs) for _ in range(options.rounds)]
    for number, (alone, with_search) in enumerate(rounds):
        more = with_search - alone
        print(f"round {number}: bare {alone:.2f} ms a trial, SearchLoop {with_search:.2f} ms, more {more:+.2f} ms")
    differences = sorted(with_search - alone for alone, with_search in rounds)
    spread = f"median of {len(differences)} rounds; {differences[0]:+.2f} to {differences[-1]:+.2f}"
    print(f"SearchLoop costs {statistics.median(differences):+.2f} ms a trial more ({spread})")
    print(f"torch {torch.__version__}, lightning {lightning.__version__}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
