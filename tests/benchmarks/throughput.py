"""Trials a second: the same fits through SearchLoop, inline and in processes, through Optuna and through Ray Tune.

    pip install optuna 'ray[tune]'
    python tests/benchmarks/throughput.py [--trials 40] [--rounds 5] [--sizes 0.2 1.0] [--sides inline processes ...]

A small network learns scikit-learn's digits, with so many epochs that one fit takes about the seconds that `--sizes` says, on
one thread. All sides try the same hyperparameters, log the same curves, lr and momentum included, and write the best and the
last checkpoint. The sides take turns, and each has a Python of its own. A peer that is not installed is left out.

Two rates are printed. `whole` is what one waits for: from starting Python, with its imports, to its end. `steady` leaves out
the start: from when each worker has finished its first trial to when the last trial is finished.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Log, Random, ReverseLog, SearchLoop, Space
from lightning_hp.study.store import Store

SPACE = {"lr": Log(1e-3, 1e-1), "momentum": ReverseLog(0.5, 0.9)}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CLOCK = "clock.json"


class Digits(LightningModule):
    """A multilayer perceptron for images of 8 x 8 pixels."""

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__()
        self.lr, self.momentum = lr, momentum
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=self.momentum)


class Clock(Callback):
    """Writes into the trial's folder when its first training step began and when its fit ended."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0:
            self.first_step = time.time()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        (Path(trainer.default_root_dir) / CLOCK).write_text(json.dumps([self.first_step, time.time()]))


def loaders() -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
    train, val = TensorDataset(x[:1437], y[:1437]), TensorDataset(x[1437:], y[1437:])
    return DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=512)


def fit(number: int, hparams: dict[str, float], epochs: int, root: Path) -> float:
    """One fit as people write it; returns the best validation loss."""
    folder = root / "trials" / f"{number:06d}"
    seed_everything(number, verbose=False)
    train, val = loaders()
    checkpoint = ModelCheckpoint(folder / "checkpoints", "best", monitor="val_loss", save_last=True)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=[Clock(), checkpoint, LearningRateMonitor(log_momentum=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(**hparams), train, val)
    return float(checkpoint.best_model_score)


def drawn(trials: int) -> list[dict[str, Any]]:
    """The very hyperparameters that the search draws."""
    return list(Random().propose(Space(SPACE), 0, range(trials), []))


def search_loop(executor: str, trials: int, epochs: int, root: Path) -> None:
    SearchLoop(
        Digits,
        space=SPACE,
        data=loaders,
        monitor="val_loss",
        trials=trials,
        trainer={"max_epochs": epochs, "accelerator": "cpu", "callbacks": [Clock]},
        executor=executor,
        workers=CORES if executor == "processes" else None,
        root_dir=root,
        progress=False,
    ).run()


def optuna_study(jobs: int, trials: int, epochs: int, root: Path) -> None:
    import optuna

    def objective(trial: optuna.Trial) -> float:
        hparams = {name: trial.suggest_float(name, scale.low, scale.high, log=name == "lr") for name, scale in SPACE.items()}
        return fit(trial.number, hparams, epochs, root)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=f"sqlite:///{root}/study.db", sampler=optuna.samplers.RandomSampler(seed=0))
    for hparams in drawn(trials):
        study.enqueue_trial(hparams)
    study.optimize(objective, trials, n_jobs=jobs)


def ray_tune(trials: int, epochs: int, root: Path) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # The curves are logged by the Trainer, as everywhere here.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # Ray's choice for a trial of one CPU as well.
    os.environ["OMP_NUM_THREADS"] = "1"
    import ray
    from ray import tune

    hparams = drawn(trials)

    def trainable(config: dict[str, Any]) -> dict[str, float]:
        silence()
        return {"val_loss": fit(config["number"], hparams[config["number"]], epochs, root)}

    ray.init(
        num_cpus=CORES,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        _temp_dir=str(root / "ray"),
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"number": tune.grid_search(list(range(trials)))},
        run_config=tune.RunConfig(storage_path=str(root / "results"), verbose=0),
    ).fit()
    ray.shutdown()


# Each with how many trials it runs at a time.
SIDES: dict[str, tuple[int, Callable[[int, int, Path], None]]] = {
    "inline": (1, partial(search_loop, "inline")),
    "processes": (CORES, partial(search_loop, "processes")),
    "optuna-1": (1, partial(optuna_study, 1)),
    "optuna-2": (2, partial(optuna_study, 2)),
    "ray": (CORES, ray_tune),
}
OPTUNA = ("optuna-1", "optuna-2")


def silence() -> None:
    """One thread, and no talk of Lightning's: in this process."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def calibrate(root: Path) -> None:
    """Prints the seconds of the processor for a fit besides its epochs, and for an epoch: no other load is in them."""

    def seconds(epochs: int) -> float:
        took = []
        for number, hparams in enumerate(drawn(7)):
            began = time.process_time()
            fit(number, hparams, epochs, root / str(epochs))
            took.append(time.process_time() - began)
        return statistics.median(took)

    seconds(1)
    short, long = seconds(2), seconds(12)
    print(json.dumps([max(0.0, short - (long - short) / 5), (long - short) / 10]))


def child(*arguments: Any) -> str:
    """Runs this file in a Python of its own; returns what it prints."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def measure(side: str, trials: int, epochs: int) -> dict[str, list[float]]:
    """Trials a second, whole and steady; for processes the seconds from asking for a trial to its first step, too."""
    at_a_time, _ = SIDES[side]
    # A short name: Ray puts sockets there, whose paths may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="hp") as folder:
        began = time.perf_counter()
        child("--run", side, "--trials", trials, "--epochs", epochs, "--root", folder)
        whole = trials / (time.perf_counter() - began)
        clocks = {int(path.parent.name): json.loads(path.read_text()) for path in Path(folder).glob(f"trials/*/{CLOCK}")}
        if len(clocks) != trials:
            raise SystemExit(f"{side}: {len(clocks)} of {trials} trials have finished")
        ended = sorted(end for _, end in clocks.values())
        steady = (trials - at_a_time) / (ended[-1] - ended[at_a_time - 1])
        found = {"whole": [whole], "steady": [steady]}
        if side == "processes":
            waits = [clocks[number][0] - started for number, started in asked_at(Path(folder)).items()]
            # The server is up before the first is asked for: its start is in the whole time, not in these.
            found |= {"first": waits[:1], "later": waits[at_a_time:]}
        return found


def asked_at(root: Path) -> dict[int, float]:
    """When the search asked for each trial, by number."""
    store = Store(root)
    try:
        return dict(store._read("SELECT number, started FROM trials ORDER BY number"))
    finally:
        store.close()


def told(values: Sequence[float], unit: str = "") -> str:
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def compare(seconds: float, epochs: int, sides: Sequence[str], trials: int, rounds: int) -> None:
    """Measures and prints one size of fit."""
    print(
        f"\nfits of {seconds:g} s ({epochs} epochs), {trials} trials; trials a second, median of {rounds} rounds (min to max)"
    )
    found: list[dict[str, dict[str, list[float]]]] = []
    for number in range(rounds):
        # Every other round backwards, so that none always runs after the same one.
        order = sides if number % 2 == 0 else sides[::-1]
        found.append({side: measure(side, trials, epochs) for side in order})
        rates = (f"{side} {found[-1][side]['whole'][0]:.2f}/{found[-1][side]['steady'][0]:.2f}" for side in sides)
        print(f"  round {number}, whole/steady: {', '.join(rates)}", flush=True)
    for side in sides:
        whole, steady = ([each[side][what][0] for each in found] for what in ("whole", "steady"))
        print(f"  {side:<10} whole {told(whole)}, steady {told(steady)}")
    if "processes" in sides:
        for peer, of in {"the better Optuna": OPTUNA, "Ray Tune": ("ray",), "inline": ("inline",)}.items():
            if all(side in sides for side in of):
                for what in ("whole", "steady"):
                    ratios = [each["processes"][what][0] / max(each[side][what][0] for side in of) for each in found]
                    print(f"  processes to {peer}, {what}: {told(ratios, 'x')}")
        for which in ("first", "later"):
            waits = [1e3 * wait for each in found for wait in each["processes"][which]]
            print(f"  from asking to the first training step, {which} trials of a run: {told(waits, ' ms')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.2, 1.0], help="seconds of a fit")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    for hidden in ("--run", "--epochs", "--root"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        silence()
        if options.run == "calibrate":
            calibrate(Path(options.root))
        else:
            SIDES[options.run][1](options.trials, int(options.epochs), Path(options.root))
        return
    missing = {name for name in ("optuna", "ray") if not find_spec(name)}
    sides = [side for side in options.sides if side.partition("-")[0] not in missing]
    for name in sorted(missing):
        print(f"{name} is not installed: left out")
    with tempfile.TemporaryDirectory(prefix="hp") as folder:
        fixed, epoch = json.loads(child("--run", "calibrate", "--root", folder))
    print(f"{CORES} cores; a fit takes {1e3 * fixed:.0f} ms and {1e3 * epoch:.1f} ms an epoch of 23 steps, on one thread")
    for seconds in options.sizes:
        compare(seconds, max(1, round((seconds - fixed) / epoch)), sides, options.trials, options.rounds)
    packages = ["torch", "lightning", *(name for name in ("optuna", "ray") if name not in missing)]
    print(f"\n{', '.join(f'{name} {version(name)}' for name in packages)}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
