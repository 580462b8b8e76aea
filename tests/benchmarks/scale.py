"""What a large study costs to open: the best trial, the leaderboard, ``lightning-hp show`` as a process, a search's start.

    python tests/benchmarks/scale.py [--trials 100000] [--epochs 20] [--rounds 3]

The study has 20 epochs of three metrics a trial, and one trial in five that did not complete. Printed is the best and the worst
of the rounds; the file's pages are in memory by then.
"""

from __future__ import annotations

import argparse
import math
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightning_hp import Choice, Log, ReverseLog, Space, Study, Trial
from lightning_hp.study import Recorder
from lightning_hp.study.store import FILE, Store
from lightning_hp.trial import State, trial_folder

SPACE = Space({"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99), "activation": Choice("relu", "tanh", "gelu")})
REASONS: dict[State, str] = {
    "diverged": "loss is nan in epoch 3, step 120",
    "pruned": "value 0.31 is below the median 0.52 in epoch 5",
    "failed": "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x10 and 64x10)",
}


def make(root: Path, trials: int, epochs: int) -> None:
    asked = {"monitor": "val_acc", "mode": "max", "trials": trials, "total": trials, "seed": 0, "space": SPACE.describe()}
    store = Store(root, create=True)
    rows = ((trial, 60.0 * trial.number, 60.0 * trial.number + 50.0) for trial in _trials(root, trials, epochs))
    store.fill(asked, rows, decisions=())
    store.close()


def _trials(root: Path, trials: int, epochs: int) -> Iterator[Trial]:
    draw = random.Random(0)
    states: list[State] = ["complete"] * 16 + ["pruned", "pruned", "diverged", "failed"]
    for number in range(trials):
        state = draw.choice(states)
        accuracy = [1 - math.exp(-0.1 * (epoch + draw.random())) for epoch in range(epochs)]
        losses = {name: [-math.log(value) + draw.random() / 10 for value in accuracy] for name in ("train_loss", "val_loss")}
        yield Trial(
            number,
            {"lr": 10 ** draw.uniform(-4, 0), "momentum": draw.uniform(0.5, 0.99), "activation": draw.choice(["relu", "tanh"])},
            seed=draw.getrandbits(32),
            state=state,
            value=max(accuracy) if state in ("complete", "pruned") else None,
            epochs=epochs,
            metrics={**losses, "val_acc": accuracy},
            reason=REASONS.get(state),
            checkpoint=trial_folder(root, number) / "checkpoints/best.ckpt",
            traceback=20 * '  File "model.py", line 1\n' if state == "failed" else None,
        )


def show(root: Path) -> None:
    subprocess.run([sys.executable, "-m", "lightning_hp", "show", str(root)], check=True, stdout=subprocess.DEVNULL)


def start(root: Path) -> None:
    """What a search does before its first trial: takes the study and checks it, and reads what is finished."""
    recorder = Recorder(root, Study(root).asked, frozenset(), SPACE)
    recorder.trials()
    recorder.close()


SIDES: dict[str, Callable[[Path], Any]] = {
    "Study(root).best": lambda root: Study(root).best,
    "Study(root).leaderboard(20)": lambda root: Study(root).leaderboard(20),
    "lightning-hp show": show,
    "a search's start": start,
    "Study(root).trials": lambda root: Study(root).trials,
}


def seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        took = seconds(lambda: make(root, options.trials, options.epochs))
        print(f"{options.trials} trials, {(root / FILE).stat().st_size / 2**20:.0f} MiB, made in {took:.1f} s")
        for name, side in SIDES.items():
            rounds = sorted(seconds(lambda side=side: side(root)) for _ in range(options.rounds))
            print(f"{name}: {rounds[0]:.3f} to {rounds[-1]:.3f} s")
    print(f"SQLite {sqlite3.sqlite_version}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
