"""Which LightningModules train as one fit, whether their trials end as they do alone, and how much faster.

    python -m tests.benchmarks.zoo [--trials 16] [--epochs 5] [--threads 1] [--rounds 1] [--accelerator cpu]
        [--only GPT LSTM ...]

Prints a Markdown table with a row for each module of the zoo. Its trials are trained as one fit and one after another, in this
process, with the same hyperparameters, seeds, batches and number of threads; ``fuse="always"``, so that it also shows where
"auto" would not do it. Columns:

- *difference*: of the monitored metric, over all trials and epochs, the largest relative difference between the trial among
  others and alone. Where steps draw random numbers, as dropout does, these differ; then the mean over the trials of the last
  epoch's difference, in its own standard errors.
- *epochs/s*: epochs of a trial a second, without the time to the end of the first epoch, of all trials together.
- *speed-up*: of these, and in brackets of the whole run, from making the models to the last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from lightning_hp.trial import EpochEnded, Event, Finished
from tests.zoo.entries import ZOO, Entry, train


@dataclass
class Run:
    """One run of an entry's trials, as its events tell.

    Attributes:
        obstacle: why they cannot train together.
        seconds: of the whole run.
        values: the monitored metric by trial and epoch.
        ended: when each trial's epochs ended.
    """

    entry: Entry
    obstacle: str | None = None
    seconds: float = 0.0
    values: dict[int, list[float]] = field(default_factory=dict)
    ended: dict[int, list[float]] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        if isinstance(event, EpochEnded):
            self.ended.setdefault(event.number, []).append(time.perf_counter())
            self.values.setdefault(event.number, []).append(event.metrics[self.entry.monitor])
        elif isinstance(event, Finished) and event.outcome.state not in ("complete", "diverged"):
            raise SystemExit(f"trial {event.number} of {self.entry.model.__qualname__}: {event.outcome.traceback}")

    def rate(self, together: bool) -> float:
        """Epochs of a trial a second, the first epoch of each left out."""
        epochs = sum(len(ended) - 1 for ended in self.ended.values())
        if together:
            return epochs / (max(ended[-1] for ended in self.ended.values()) - max(ended[0] for ended in self.ended.values()))
        return epochs / sum(ended[-1] - ended[0] for ended in self.ended.values())


def run(entry: Entry, trials: int, epochs: int, together: bool, accelerator: str) -> Run:
    made = Run(entry)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        limits = {"max_epochs": epochs, "accelerator": accelerator, "devices": 1}
        made.obstacle = train(entry, trials, together, Path(folder), made.take, **limits)
        made.seconds = time.perf_counter() - began
    return made


def difference(fused: Run, alone: Run) -> str:
    if fused.entry.random:
        last = [fused.values[number][-1] - alone.values[number][-1] for number in alone.values]
        return f"{statistics.mean(last) / (statistics.stdev(last) / len(last) ** 0.5):+.1f} s.e."
    pairs = [pair for number in alone.values for pair in zip(fused.values[number], alone.values[number], strict=True)]
    return f"{max(abs(one - other) / max(abs(other), 1e-12) for one, other in pairs):.0e}"


def row(name: str, entry: Entry, trials: int, epochs: int, rounds: int, accelerator: str) -> str:
    measured = partial(run, entry, trials, epochs, accelerator=accelerator)
    pairs = [(measured(together=True), measured(together=False)) for _ in range(rounds)]
    fused, alone = pairs[0]
    alone_rate = statistics.median(other.rate(together=False) for _, other in pairs)
    if fused.obstacle is not None:
        return f"| {name} | no: {fused.obstacle} | | {alone_rate:.0f} | | |"
    rate = statistics.median(one.rate(together=True) for one, _ in pairs)
    steady = statistics.median(one.rate(together=True) / other.rate(together=False) for one, other in pairs)
    whole = statistics.median(other.seconds / one.seconds for one, other in pairs)
    return f"| {name} | yes | {difference(fused, alone)} | {alone_rate:.0f} | {rate:.0f} | {steady:.1f}x ({whole:.1f}x) |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[""], help="parts of names")
    parser.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    # Else its products have ten bits of the numbers, and differences are those.
    torch.backends.cudnn.allow_tf32 = False
    # What is done once in a process, such as the choice of kernels, is nobody's time.
    run(ZOO["MLP"], 2, 1, False, options.accelerator)
    print("| module | fused | difference | epochs/s alone | epochs/s fused | speed-up |\n|---|---|---|---|---|---|")
    for name, entry in ZOO.items():
        if any(part in name for part in options.only):
            print(row(name, entry, options.trials, options.epochs, options.rounds, options.accelerator), flush=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = torch.cuda.get_device_name() if options.accelerator == "gpu" else "CPU"
    print(f"\n{options.trials} trials, {options.epochs} epochs, {device}, {options.threads} threads of {cores} cores, ", end="")
    print(f"torch {version('torch')}, lightning {version('lightning')}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
