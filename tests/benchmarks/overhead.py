"""What a search costs besides its fits: the same fits as a bare loop over Trainer.fit, through SearchLoop and through Optuna.

    python tests/benchmarks/overhead.py [--trials 30] [--rounds 7] [--epochs 1]

All sides log the same curves to TensorBoard, lr and momentum included, and write the best and the last checkpoint. SearchLoop
and Optuna also write each trial durably to SQLite; SearchLoop besides writes the HParams table and shares the batch order. The
sides take turns; printed is how many milliseconds a trial costs more than in the bare loop of the same round.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from common import drawn, fit, optuna_study, random_search, silence, versions
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Log, ReverseLog
from lightning_hp.space.scales import Scale

# Gentle enough that every epoch improves, so that both sides write equally many checkpoints.
SPACE: dict[str, Scale] = {"lr": Log(1e-4, 1e-2), "momentum": ReverseLog(0.5, 0.9)}


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


def small_fit(number: int, hparams: dict[str, float], epochs: int, root: Path) -> float:
    return fit(Small, loaders, hparams, root / f"{number:06d}", epochs, number)


def bare(trials: int, epochs: int, root: Path) -> None:
    for number, hparams in enumerate(drawn(SPACE, trials)):
        small_fit(number, hparams, epochs, root)


def search_loop(trials: int, epochs: int, root: Path) -> None:
    random_search(Small, loaders, trials, root, SPACE, trainer={"max_epochs": epochs}, executor="inline", fuse="never")


def optuna(trials: int, epochs: int, root: Path) -> None:
    optuna_study(SPACE, trials, root, lambda number, hparams: small_fit(number, hparams, epochs, root))


SIDES: dict[str, Callable[[int, int, Path], None]] = {"bare loop": bare, "SearchLoop": search_loop}
if find_spec("optuna"):
    SIDES["Optuna"] = optuna


def measure(trials: int, epochs: int) -> dict[str, float]:
    """Milliseconds a trial, side by side."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: 1e3 * _seconds(partial(side, trials, epochs, Path(folder) / name)) / trials for name, side in SIDES.items()
        }


def _seconds(run: Callable[[], None]) -> float:
    # Each side pays for its own garbage, and not for that of the others.
    gc.collect()
    began = time.perf_counter()
    run()
    gc.collect()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    silence()
    measure(3, options.epochs)
    rounds = [measure(options.trials, options.epochs) for _ in range(options.rounds)]
    for number, took in enumerate(rounds):
        print(f"round {number}, ms a trial: {', '.join(f'{name} {each:.2f}' for name, each in took.items())}")
    for name in list(SIDES)[1:]:
        more = sorted(took[name] - took["bare loop"] for took in rounds)
        spread = f"median of {len(more)} rounds; {more[0]:+.2f} to {more[-1]:+.2f}"
        print(f"{name} costs {statistics.median(more):+.2f} ms a trial more ({spread})")
    print(versions("optuna"))


if __name__ == "__main__":
    main()
