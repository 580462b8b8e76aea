"""Real tasks whose learning curves are kept in tables, so that strategies can be compared on them thousands of times.

    python tests/benchmarks/tasks.py [--tasks digits diabetes code] [--configurations 3000]

trains that many quasi-random configurations of each task, of one model structure as one fit, and some of them four times,
with other weights each time. Their curves go to tests/benchmarks/tables/NAME.npz: the configurations' positions in the unit
cube, and the monitored metric after each epoch (NaN from where a trial diverged); tests/benchmarks/replayed.py makes tasks of
them. It takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Choice, Linear, Log, Quasi, ReverseLog, SearchLoop, Space
from lightning_hp.space import Hparams

# So many configurations are trained so many times, to know the noise.
REPEATED, TIMES = 128, 4
TABLES = Path(__file__).parent / "tables"
Loaders = tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]


class Digits(LightningModule):
    """A multilayer perceptron for images of 8 x 8 pixels, by SGD with momentum."""

    def __init__(self, lr: float, momentum: float, weight_decay: float, dropout: float, activation: str) -> None:
        super().__init__()
        self.save_hyperparameters()
        act = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
        self.net = nn.Sequential(nn.Linear(64, 48), act(), nn.Dropout(dropout), nn.Linear(48, 48), act(), nn.Linear(48, 10))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        h = self.hparams
        return torch.optim.SGD(self.parameters(), lr=h.lr, momentum=h.momentum, weight_decay=h.weight_decay)


class Diabetes(LightningModule):
    """A small regression network for the progress of 442 patients, by AdamW: few data, and much noise in the objective."""

    def __init__(self, lr: float, beta1: float, weight_decay: float, dropout: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Linear(10, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1)
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0])[:, 0], batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0])[:, 0], batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        h = self.hparams
        return torch.optim.AdamW(self.parameters(), lr=h.lr, betas=(h.beta1, 0.999), weight_decay=h.weight_decay)


class Code(LightningModule):
    """Predicts the next character of Python code from the eight before it, by RMSprop."""

    def __init__(self, lr: float, momentum: float, alpha: float, smoothing: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Embedding(128, 12), nn.Flatten(), nn.Linear(96, 64), nn.Tanh(), nn.Linear(64, 128))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1], label_smoothing=self.hparams.smoothing)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        h = self.hparams
        return torch.optim.RMSprop(self.parameters(), lr=h.lr, momentum=h.momentum, alpha=h.alpha)


def digits() -> Loaders:
    images = load_digits()
    x = torch.tensor(images.data, dtype=torch.float32) / 16
    return _loaders(x, torch.tensor(images.target), training=1400, batch_size=100)


def diabetes() -> Loaders:
    patients = load_diabetes()
    y = torch.tensor(patients.target, dtype=torch.float32)
    x = torch.tensor(patients.data, dtype=torch.float32)
    return _loaders(x / x.std(0), (y - y.mean()) / y.std(), training=330, batch_size=33)


def code() -> Loaders:
    # A module of Python's own that hardly changes from version to version.
    text = torch.tensor([min(ord(character), 127) for character in Path(textwrap.__file__).read_text(encoding="utf-8")])
    windows = text.unfold(0, 9, 1)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))[:1800]
    return _loaders(windows[order, :8], windows[order, 8], training=1200, batch_size=100)


def _loaders(x: Tensor, y: Tensor, training: int, batch_size: int) -> Loaders:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    train, val = TensorDataset(x[:training], y[:training]), TensorDataset(x[training:], y[training:])
    return DataLoader(train, batch_size=batch_size, shuffle=True), DataLoader(val, batch_size=len(val))


@dataclass(frozen=True)
class Task:
    """What a search needs, with the epochs that a trial has in full."""

    model: type[LightningModule]
    data: Callable[[], Loaders]
    space: Space
    epochs: int = 27
    monitor: str = "val_loss"


TASKS = {
    "digits": Task(
        Digits,
        digits,
        Space(
            {
                "lr": Log(1e-4, 3.0),
                "momentum": ReverseLog(0.0, 0.999),
                "weight_decay": Log(1e-6, 1e-1),
                "dropout": Linear(0.0, 0.7),
                "activation": Choice("relu", "tanh"),
            }
        ),
    ),
    "diabetes": Task(
        Diabetes,
        diabetes,
        Space(
            {
                "lr": Log(1e-5, 1.0),
                "beta1": ReverseLog(0.0, 0.999),
                "weight_decay": Log(1e-4, 10.0),
                "dropout": Linear(0.0, 0.7),
            }
        ),
    ),
    "code": Task(
        Code,
        code,
        Space(
            {
                "lr": Log(1e-5, 1e-1),
                "momentum": ReverseLog(0.0, 0.99),
                "alpha": ReverseLog(0.5, 0.999),
                "smoothing": Linear(0.0, 0.5),
            }
        ),
    ),
}


def make_table(name: str, configurations: int) -> None:
    task, began = TASKS[name], time.perf_counter()
    units, curves = _trained(task, Quasi().propose(task.space, 0, range(configurations), []))
    some = Quasi().propose(task.space, 1, range(REPEATED), [])
    _, again = _trained(task, [hparams for hparams in some for _ in range(TIMES)])
    TABLES.mkdir(exist_ok=True)
    np.savez_compressed(
        TABLES / f"{name}.npz",
        units=units,
        curves=curves,
        repeated=again.reshape(REPEATED, TIMES, task.epochs),
    )
    diverged = int(np.isnan(curves).any(axis=1).sum())
    print(f"{name}: {len(curves)} + {len(again)} fits in {time.perf_counter() - began:.0f} s, {diverged} diverged", flush=True)


def _trained(task: Task, points: list[Hparams]) -> tuple[Any, Any]:
    """Configurations' positions and curves."""
    with tempfile.TemporaryDirectory() as root:
        study = SearchLoop(
            task.model,
            space=task.space,
            data=task.data,
            monitor=task.monitor,
            strategy="random",
            enqueue=points,
            trials=len(points),
            trainer={"max_epochs": task.epochs, "enable_checkpointing": False, "logger": False, "accelerator": "cpu"},
            fuse="always",
            root_dir=root,
            progress=False,
        ).run()
        trials = study.trials
    curves = np.full((len(trials), task.epochs), np.nan, np.float32)
    for trial in trials:
        values = [np.nan if value is None else value for value in trial.metrics.get(task.monitor, [])]
        curves[trial.number, : len(values)] = values
    return np.float32(task.space.to_unit([trial.hparams for trial in trials])), _short(curves)


def _short(values: Any) -> Any:
    """Four digits or so of each number, which takes half the room."""
    return (values.view(np.uint32) & np.uint32(0xFFFFFC00)).view(np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--configurations", type=int, default=3000)
    options = parser.parse_args()
    for each in options.tasks:
        make_table(each, options.configurations)
