"""What the benchmarks share: small models on scikit-learn's digits, a fit as people write it, and Optuna around that."""

from __future__ import annotations

import logging
import os
import platform
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Log, Random, ReverseLog, SearchLoop, Space
from lightning_hp.space.scales import Scale

SPACE: dict[str, Scale] = {"lr": Log(1e-3, 1e-1), "momentum": ReverseLog(0.5, 0.9)}
T = TypeVar("T")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Mlp(LightningModule):
    """A multilayer perceptron for images of 8 x 8 pixels."""

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__()
        self.lr, self.momentum = lr, momentum
        self.net = self.make()

    def make(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=self.momentum)


class Cnn(Mlp):
    """A small convolutional network with batch normalization."""

    def make(self) -> nn.Module:
        first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        second = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
        return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), first, second, nn.Flatten(), nn.Linear(512, 10))


def loaders() -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    """The digits: 1,437 to train on in batches of 64, 360 to validate on."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
    train, val = TensorDataset(x[:1437], y[:1437]), TensorDataset(x[1437:], y[1437:])
    return DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=512)


def fit(
    model: Callable[..., LightningModule],
    data: Callable[[], tuple[Any, Any]],
    hparams: dict[str, float],
    folder: Path,
    epochs: int,
    seed: int,
    callbacks: Sequence[Callback] = (),
    accelerator: str = "auto",
) -> float:
    """One fit as people write it, with the curves and checkpoints that a search has; returns the best validation loss."""
    seed_everything(seed, verbose=False)
    train, val = data()
    checkpoint = ModelCheckpoint(folder / "checkpoints", "best", monitor="val_loss", save_last=True)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator=accelerator,
        devices=1,
        default_root_dir=folder,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=[*callbacks, checkpoint, LearningRateMonitor(log_momentum=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model(**hparams), train, val)
    return float(checkpoint.best_model_score)


def drawn(space: dict[str, Scale], trials: int) -> list[dict[str, Any]]:
    """The very hyperparameters that a random search draws."""
    return list(Random().propose(Space(space), 0, range(trials), []))


def random_search(
    model: Callable[..., LightningModule],
    data: Callable[[], tuple[Any, Any]],
    trials: int,
    root: Path,
    space: dict[str, Scale] = SPACE,
    **arguments: Any,
) -> None:
    """A random search for the lowest validation loss, whatever else it is asked for."""
    SearchLoop(
        model,
        space=space,
        data=data,
        monitor="val_loss",
        trials=trials,
        strategy="random",
        root_dir=root,
        progress=False,
        **arguments,
    ).run()


def optuna_study(
    space: dict[str, Scale], trials: int, root: Path, one_fit: Callable[[int, dict[str, float]], float], jobs: int = 1
) -> None:
    """The same trials through Optuna, on SQLite."""
    import optuna

    def objective(trial: optuna.Trial) -> float:
        scales = {name: (scale.low, scale.high, isinstance(scale, Log)) for name, scale in space.items()}  # type: ignore[attr-defined]
        return one_fit(trial.number, {name: trial.suggest_float(name, a, b, log=log) for name, (a, b, log) in scales.items()})

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    root.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(storage=f"sqlite:///{root}/study.db", sampler=optuna.samplers.RandomSampler(seed=0))
    for hparams in drawn(space, trials):
        study.enqueue_trial(hparams)
    study.optimize(objective, trials, n_jobs=jobs)


def silence() -> None:
    """No talk of Lightning's in this process."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def child(script: str, *arguments: Any) -> str:
    """Runs a script in a Python of its own; returns what it prints."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def forked(run: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a process of its own, in which all is imported already; returns what it returns."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as alone:
        return alone.submit(run, *arguments).result()


def in_turn(sides: Sequence[str], rounds: int, measure: Callable[[str], T]) -> Iterator[dict[str, T]]:
    """What each side measures, round by round: every other one backwards, so that none always runs after the same one."""
    for number in range(rounds):
        yield {side: measure(side) for side in (sides if number % 2 == 0 else sides[::-1])}


def told(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """The median, and the smallest and largest in brackets."""
    return f"{statistics.median(values):.{digits}f}{unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def versions(*peers: str) -> str:
    """What was measured with."""
    packages = ["torch", "lightning", *(peer for peer in peers if find_spec(peer))]
    return f"{', '.join(f'{name} {version(name)}' for name in packages)}, Python {platform.python_version()}, {CORES} cores"
