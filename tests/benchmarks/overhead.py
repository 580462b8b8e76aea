"""What a search costs besides its fits: the same fits as a bare loop over Trainer.fit, through SearchLoop and through Optuna.

    python tests/benchmarks/overhead.py [--trials 30] [--rounds 7] [--epochs 1]

All sides log the same curves to TensorBoard, lr and momentum included, and write the best and the last checkpoint. SearchLoop
and Optuna also write each trial durably to SQLite; SearchLoop besides writes the HParams table and shares the batch order. The
sides take turns; printed is how many milliseconds a trial costs more than in the bare loop of the same round.
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
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import lightning
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Log, Random, ReverseLog, SearchLoop, Space

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


def fit(number: int, hparams: dict[str, float], epochs: int, root: Path) -> float:
    """One fit as people write it; returns the best validation loss."""
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
        callbacks=[checkpoint, LearningRateMonitor(log_momentum=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Small(**hparams), train, val)
    return float(checkpoint.best_model_score)


def bare(trials: int, epochs: int, root: Path) -> None:
    # The very hyperparameters that the search draws.
    for number, hparams in enumerate(Random().propose(Space(SPACE), 0, range(trials), [])):
        fit(number, hparams, epochs, root)


def search_loop(trials: int, epochs: int, root: Path) -> None:
    SearchLoop(
        Small,
        space=SPACE,
        data=loaders,
        monitor="val_loss",
        trials=trials,
        trainer={"max_epochs": epochs},
        executor="inline",
        root_dir=root,
        progress=False,
    ).run()


def optuna_study(trials: int, epochs: int, root: Path) -> None:
    import optuna

    def objective(trial: optuna.Trial) -> float:
        hparams = {name: trial.suggest_float(name, scale.low, scale.high, log=name == "lr") for name, scale in SPACE.items()}
        return fit(trial.number, hparams, epochs, root)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    root.mkdir()
    study = optuna.create_study(storage=f"sqlite:///{root}/study.db", sampler=optuna.samplers.RandomSampler(seed=0))
    for hparams in Random().propose(Space(SPACE), 0, range(trials), []):
        study.enqueue_trial(hparams)
    study.optimize(objective, trials)


SIDES: dict[str, Callable[[int, int, Path], None]] = {"bare loop": bare, "SearchLoop": search_loop}
if find_spec("optuna"):
    SIDES["Optuna"] = optuna_study


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
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    measure(3, options.epochs)
    rounds = [measure(options.trials, options.epochs) for _ in range(options.rounds)]
    for number, took in enumerate(rounds):
        print(f"round {number}, ms a trial: {', '.join(f'{name} {each:.2f}' for name, each in took.items())}")
    for name in list(SIDES)[1:]:
        more = sorted(took[name] - took["bare loop"] for took in rounds)
        spread = f"median of {len(more)} rounds; {more[0]:+.2f} to {more[-1]:+.2f}"
        print(f"{name} costs {statistics.median(more):+.2f} ms a trial more ({spread})")
    versions = [f"torch {torch.__version__}", f"lightning {lightning.__version__}", f"Python {platform.python_version()}"]
    print(", ".join(versions + ([f"optuna {version('optuna')}"] if "Optuna" in SIDES else [])))


if __name__ == "__main__":
    main()
