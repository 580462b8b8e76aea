"""One fit of a task of babysat_tasks.py: at a constant lr, under a schedule of torch's, or babysat; and what became of it."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from babysat_tasks import EPOCHS, MONITOR, TASKS, Schedule, right
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from lightning_hp import Babysitter


def plateau(optimizer: Optimizer, steps: int, epochs: int) -> dict[str, Any]:
    """Torch's defaults, but a tenth of the epochs for its patience: of 10, it would hardly act in 30 epochs."""
    return {"scheduler": ReduceLROnPlateau(optimizer, patience=max(1, epochs // 10)), "monitor": MONITOR}


def cosine(optimizer: Optimizer, steps: int, epochs: int) -> dict[str, Any]:
    """From the lr of the start to 0."""
    return {"scheduler": CosineAnnealingLR(optimizer, steps), "interval": "step"}


def one_cycle(optimizer: Optimizer, steps: int, epochs: int) -> dict[str, Any]:
    """Torch's defaults, with the lr of the start for its highest; momentum falls from what it is to thrice as far from 1.

    That is as torch's 0.95 and 0.85, but with the momentum that all the others have for its highest.
    """
    lr, momentum = optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]
    base = max(0.0, 1 - 3 * (1 - momentum))
    return {
        "scheduler": OneCycleLR(optimizer, lr, steps, base_momentum=base, max_momentum=momentum),
        "interval": "step",
    }


@dataclass(frozen=True)
class Method:
    """A schedule, a babysitter, or neither."""

    schedule: Schedule | None = None
    babysitter: Callable[[], Babysitter] | None = None


METHODS = {
    "fixed": Method(),
    "plateau": Method(plateau),
    "cosine": Method(cosine),
    "onecycle": Method(one_cycle),
    "reduce": Method(babysitter=lambda: Babysitter(MONITOR, policy="reduce")),
    "probe": Method(babysitter=lambda: Babysitter(MONITOR, policy="probe")),
    "reduce-momentum": Method(babysitter=lambda: Babysitter(MONITOR, policy="reduce", momentum_factor=0.5)),
    "probe-momentum": Method(babysitter=lambda: Babysitter(MONITOR, policy="probe", momentum_factor=0.5)),
}


@dataclass(frozen=True)
class Job:
    """A fit to make.

    Attributes:
        task: its name.
        method: its name.
        lr: so many times the right one at the start.
        momentum: so many times as far from 1 as the right one at the start; 0 at the least.
        seed: of weights and batch order, which all methods share.
    """

    task: str
    method: str
    lr: float
    momentum: float
    seed: int


@dataclass(frozen=True)
class Record:
    """What became of a fit.

    Attributes:
        chance: the metric before training.
        values: the metric after each epoch.
        lrs: the lr at each epoch's end.
        momenta: likewise.
        interventions: how often the babysitter intervened.
        seconds: the fit's, of the processor.
    """

    chance: float
    values: list[float]
    lrs: list[float]
    momenta: list[float]
    interventions: int
    seconds: float

    @property
    def best(self) -> float:
        """The value of the best checkpoint: the weights of the start, if none are better.

        >>> Record(2.3, [1.2, 0.9, math.nan], [], [], 0, 0.0).best
        0.9
        """
        return min([self.chance, *filter(math.isfinite, self.values)])

    @property
    def last(self) -> float:
        """The value of the last weights; of those of the start, if training has made them worse or NaN.

        >>> Record(2.3, [1.2, 0.9, math.nan], [], [], 0, 0.0).last
        2.3
        """
        last = self.values[-1] if self.values else math.nan
        return min(self.chance, last) if math.isfinite(last) else self.chance


class Curve(Callback):
    """Keeps the metric of each epoch, and lr and momentum at its end."""

    def __init__(self) -> None:
        self.chance, self.values = math.nan, list[float]()
        self.lrs, self.momenta = list[float](), list[float]()

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.chance = float(trainer.callback_metrics[MONITOR])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.values.append(float(trainer.callback_metrics[MONITOR]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        group = trainer.optimizers[0].param_groups[0]
        self.lrs.append(float(group["lr"]))
        self.momenta.append(float(group["momentum"]))


def start_of(job: Job) -> dict[str, float]:
    """The lr and momentum that a job starts from."""
    best = right(job.task)
    return {"lr": best["lr"] * job.lr, "momentum": max(0.0, 1 - (1 - best["momentum"]) * job.momentum)}


def fit(job: Job, logs: Path | None = None, epochs: int = EPOCHS) -> Record:
    """Makes a fit; the babysitter's log goes to a folder of its own in ``logs``."""
    method, task, curve = METHODS[job.method], TASKS[job.task], Curve()
    seed_everything(job.seed, verbose=False)
    babysitters = [] if method.babysitter is None else [method.babysitter()]
    with _folder(job, logs) as folder:
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            callbacks=[curve, *babysitters],
            # The whole validation, for the metric before training.
            num_sanity_val_steps=-1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        model, loaders = task.model(**start_of(job), schedule=method.schedule), task.loaders(job.seed)
        began = time.process_time()
        trainer.fit(model, *loaders)
        seconds = time.process_time() - began
    interventions = sum(babysitter.interventions for babysitter in babysitters)
    return Record(curve.chance, curve.values, curve.lrs, curve.momenta, interventions, seconds)


@contextmanager
def _folder(job: Job, logs: Path | None) -> Iterator[Path]:
    if logs is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder = logs / job.task / job.method / f"lr-{job.lr:.3g}-momentum-{job.momentum:.3g}" / str(job.seed)
    # A log of an earlier fit would be that of a run to be continued.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder


def one_thread() -> None:
    """Fits side by side do not take each other's cores."""
    torch.set_num_threads(1)
