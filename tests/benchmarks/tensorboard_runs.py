"""How long TensorBoard takes to open a study: until it lists all runs, and until the HParams table has all trials.

    python tests/benchmarks/tensorboard_runs.py [--trials 64 500 2000] [--epochs 30] [--keep DIR]

The event files are those of real searches, of trials that are made up. Both times count from the start of the process, which by
itself takes a few seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from lightning_hp import Choice, Log, ReverseLog, Space
from lightning_hp.tracking.search_run import SearchRun
from lightning_hp.tracking.trial_run import TrialLogger
from lightning_hp.trial import Finished, Outcome, trial_folder

SPACE = Space({"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99), "activation": Choice("relu", "tanh", "gelu")})
PATIENCE = 600.0


def make(root: Path, trials: int, epochs: int) -> None:
    draw = random.Random(0)
    with SearchRun(root / "search", SPACE, "val_acc", "max", []) as run:
        for number, hparams in enumerate(SPACE.sample(trials)):
            logger = TrialLogger(trial_folder(root, number))
            logger.begin(SPACE, hparams)
            pace, accuracy = 0.02 + 0.2 * draw.random(), 0.0
            for epoch in range(epochs):
                accuracy = 1 - math.exp(-pace * (epoch + draw.random()))
                logger.log_metrics({"train_loss": 1 - accuracy, "epoch": epoch}, 10 * epoch + 9)
                logger.log_metrics({"val_loss": 1.1 - accuracy, "val_acc": accuracy, "epoch": epoch}, 10 * epoch + 9)
                logger.log_metrics({"lr-SGD": hparams["lr"], "lr-SGD-momentum": hparams["momentum"]}, 10 * epoch + 9)
            outcome = Outcome("complete", accuracy, epochs)
            logger.end(outcome)
            run.record(Finished(number, outcome, 0.0))


def opened(root: Path, trials: int) -> tuple[float, float]:
    """Seconds until all runs are listed, and until all trials are in the HParams table."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(root), "--port", str(port)]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        runs = until(lambda: len(ask(port, "runs")) >= trials + 1, began)
        groups = {
            "experimentName": "",
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
            "colParams": [],
            "startIndex": 0,
            "sliceSize": trials,
        }
        table = until(lambda: ask(port, "plugin/hparams/session_groups", groups).get("totalSize") == trials, began)
        return runs, table
    finally:
        process.terminate()
        process.wait()


def until(done: Any, began: float) -> float:
    while not done():
        if time.monotonic() - began > PATIENCE:
            return math.inf
        time.sleep(0.1)
    return time.monotonic() - began


def ask(port: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://localhost:{port}/data/{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[64, 500, 2000])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--keep", help="leave the studies in this folder")
    options = parser.parse_args()
    print("| trials | MB | all runs are listed | the HParams table is whole |\n|---|---|---|---|")
    folder = Path(options.keep or tempfile.mkdtemp())
    for trials in options.trials:
        root = folder / str(trials)
        if not root.exists():
            make(root, trials, options.epochs)
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 1e6
        runs, table = opened(root, trials)
        print(f"| {trials} | {size:.1f} | {runs:.1f} s | {table:.1f} s |", flush=True)
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
