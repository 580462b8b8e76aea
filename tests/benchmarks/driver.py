"""What one search process can take: its own work for very many trials and workers, none of which trains.

    python tests/benchmarks/driver.py [--trials 1000 10000 100000] [--workers 1000] [--epochs 10] [--fuse never]
        [--strategies random quasi coarse-to-fine] [--pruner halving] [--halt 600]

SearchLoop runs as it does, but for its executor: synthetic workers answer each job at once with what a fit would tell, ten
epochs with three metrics and an outcome, always one message of a worker drawn by lot, so that up to `--workers` trials are
open. They write small files where a trial has its checkpoints and TensorBoard's, since the search removes them later; that time
is not the search's and is left out of its rates. Coarse-to-fine has rounds as large as there are workers, and halving brackets.

Each size has a Python of its own. Printed are its rates, what a trial costs in the last tenth against the second, the memory
that it takes on top of its imports, the study's size, and where the time went. Time is the processor's, so that others on the
machine disturb little, and what SQLite waits for the disk, by the median write.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import wraps
from pathlib import Path
from typing import Any

from common import child, silence, versions
from lightning.pytorch import LightningModule

import lightning_hp.loop
import lightning_hp.study.recorder
from lightning_hp import Asha, Choice, CoarseToFine, Halving, Int, Log, ReverseLog, SearchLoop, Space
from lightning_hp.executors import NextJob, Work
from lightning_hp.pruners import Pruner
from lightning_hp.samplers import Sampler
from lightning_hp.search.ask import Ask
from lightning_hp.search.ladder import Ladder
from lightning_hp.search.plan import Plan
from lightning_hp.study import Recorder
from lightning_hp.study.store import FILE, Store
from lightning_hp.tracking.best_runs import BestRuns
from lightning_hp.tracking.progress import Progress
from lightning_hp.tracking.search_run import SearchRun
from lightning_hp.trial import Emit, EpochEnded, Event, Finished, Job, Outcome, Paused, Trial, add_epoch, trial_folder

SPACE = Space(
    {"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99), "hidden": Int(32, 512), "activation": Choice("relu", "tanh")}
)
DISPATCH, WORKERS, START, PICTURES, SQLITE = "dispatch", "workers", "start and end", "pictures at the end", "SQLite"
# By the part that the time is counted for: whose attributes are timed. What one calls of another is the other's.
PARTS: dict[str, dict[Any, tuple[str, ...]]] = {
    "propose": {Ask: ("propose", "begin", "finish", "round_of")},
    "plan": {Plan: ("add", "next_job", "refuse")},
    "ladder": {Ladder: ("settle", "pause", "finish", "until", "rungs_of")},
    "recorder": {Recorder: ("record",)},
    SQLITE: {Store: ("write_all", "drop_checkpoints", "decide")},
    "trial.json": {lightning_hp.study.recorder: ("write_record",)},
    "removal of files": {lightning_hp.study.recorder: ("remove_checkpoints",), BestRuns: ("record",)},
    "TensorBoard": {SearchRun: ("record",), lightning_hp.loop: ("end_runs",)},
    "progress": {Progress: ("record",)},
    PICTURES: {lightning_hp.loop: ("show_pictures",)},
}


class Clock:
    """Counts the processor's seconds for the innermost part at work, and those in which a write waits for the disk."""

    def __init__(self) -> None:
        self.busy = dict.fromkeys([START, DISPATCH, *PARTS, WORKERS], 0.0)
        self.waits: list[float] = []
        self._at_work = [START]
        self._since = time.process_time(), time.perf_counter()

    @contextmanager
    def during(self, part: str) -> Iterator[None]:
        self.count()
        self._at_work.append(part)
        try:
            yield
        finally:
            self.count()
            self._at_work.pop()

    def wrap(self, part: str, run: Callable[..., Any]) -> Callable[..., Any]:
        # No context manager here: these are called millions of times.
        @wraps(run)
        def timed(*arguments: Any, **named: Any) -> Any:
            self.count()
            self._at_work.append(part)
            try:
                return run(*arguments, **named)
            finally:
                self.count()
                self._at_work.pop()

        return timed

    def count(self) -> None:
        now = time.process_time(), time.perf_counter()
        busy, passed = now[0] - self._since[0], now[1] - self._since[1]
        self.busy[self._at_work[-1]] += busy
        if self._at_work[-1] == SQLITE:
            self.waits.append(max(0.0, passed - busy))
        self._since = now


class Workers:
    """An executor whose jobs tell what a fit would, as soon as they are asked."""

    def __init__(self, count: int, epochs: int, root: Path, clock: Clock) -> None:
        self.at_a_time = count
        self.messages = 0
        # What the search has taken of the processor when so many had finished.
        self.marks: list[float] = []
        self.memory = 0.0
        self._fits = _Fits(epochs, root)
        self._clock = clock

    def run(self, next_job: NextJob, work: Work, emit: Emit) -> None:
        next_job, emit = self._clock.wrap(DISPATCH, next_job), self._clock.wrap(DISPATCH, emit)
        with self._clock.during(WORKERS):
            self._run(next_job, emit)
        self.memory = mebibytes()

    def _run(self, next_job: NextJob, emit: Emit) -> None:
        lots, running = random.Random(0), list[Iterator[Event]]()
        while True:
            while len(running) < self.at_a_time and (job := next_job()) is not None:
                running.append(self._fits.of(job))
            if not running:
                return
            drawn = int(lots.random() * len(running))
            event = next(running[drawn], None)
            if event is None:
                running[drawn] = running[-1]
                running.pop()
                continue
            self.messages += 1
            emit(event)
            if isinstance(event, Finished):
                self.marks.append(sum(self._clock.busy.values()) - self._clock.busy[WORKERS])


class _Fits:
    """What fits tell that train nothing, each of which goes on where it paused."""

    def __init__(self, epochs: int, root: Path) -> None:
        self._epochs = epochs
        self._root = root
        self._paused: dict[int, dict[str, list[float | None]]] = {}

    def of(self, job: Job) -> Iterator[Event]:
        """The events of a job; of trials that train as one, an epoch of all, and then the next."""
        until = min(job.until.at, self._epochs) if job.until is not None else self._epochs
        curves = {trial.number: self._paused.pop(trial.number, {}) for trial in job.trials}
        for trial in job.trials:
            self._write_files(trial.number)
        for epoch in range(len(next(iter(curves[job.trials[0].number].values()), [])), until):
            for trial in job.trials:
                logged = _logged(trial, epoch)
                add_epoch(curves[trial.number], epoch, logged)
                yield EpochEnded(trial.number, epoch, logged)
        for trial in job.trials:
            yield self._end(trial, curves[trial.number], until)

    def _end(self, trial: Trial, curves: dict[str, list[float | None]], epochs: int) -> Event:
        paused = epochs < self._epochs
        best = min(value for value in curves["val_loss"] if value is not None)
        checkpoint = trial_folder(self._root, trial.number) / "checkpoints/best.ckpt"
        outcome = Outcome("pruned" if paused else "complete", best, epochs, curves, checkpoint=checkpoint)
        if paused:
            self._paused[trial.number] = curves
            return Paused(trial.number, outcome, time.time())
        return Finished(trial.number, outcome, time.time())

    def _write_files(self, number: int) -> None:
        folder = trial_folder(self._root, number)
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "events.out.tfevents.0.synthetic"):
            (folder / name).write_bytes(b"synthetic")


def _logged(trial: Trial, epoch: int) -> dict[str, float]:
    lr, momentum, hidden = (trial.hparams[name] for name in ("lr", "momentum", "hidden"))
    lowest = (math.log10(lr) + 2) ** 2 + (math.log10(1 - momentum) + 1) ** 2 + 16 / hidden
    loss = lowest + 1 / (epoch + 1)
    return {"train_loss": 0.9 * loss, "val_loss": loss, "val_acc": math.exp(-loss)}


def untrained(lr: float, momentum: float, hidden: int, activation: str) -> LightningModule:
    raise NotImplementedError("nothing trains here")


def mebibytes() -> float:
    """The most memory that this process has had."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def strategy(name: str, workers: int) -> str | Sampler:
    return CoarseToFine(first=workers, size=workers) if name == "coarse-to-fine" else name


def pruner(name: str | None, workers: int) -> Pruner | None:
    return {None: None, "halving": Halving(size=workers), "one-bracket": Halving(), "asha": Asha()}[name]


def search(options: argparse.Namespace) -> None:
    """One search; prints what it took, as JSON."""
    clock, before = Clock(), mebibytes()
    for part, owners in PARTS.items():
        for owner, names in owners.items():
            for name in names:
                setattr(owner, name, clock.wrap(part, getattr(owner, name)))
    # Progress as when it is piped into a file.
    with tempfile.TemporaryDirectory() as folder, Path("/dev/null").open("w") as nowhere, redirect_stderr(nowhere):
        root = Path(folder)
        loop = SearchLoop(
            untrained,
            space=SPACE,
            monitor="val_loss",
            trials=options.trials[0],
            max_time=options.halt,
            strategy=strategy(options.strategies[0], options.workers),
            pruner=pruner(options.pruner, options.workers),
            trainer={"max_epochs": options.epochs, "accelerator": "cpu"},
            executor="inline",
            fuse=options.fuse,
            root_dir=root,
        )
        workers = Workers(options.workers, options.epochs, root, clock)
        loop.executor = workers
        loop.run()
        clock.count()
        done = len(workers.marks)
        found = {
            "trials": sum(loop._study().counts.values()),
            "messages": workers.messages,
            "marks": [workers.marks[done * tenth // 10 - 1] for tenth in range(1, 11)] if done >= 10 else [],
            "memory": [workers.memory - before, mebibytes() - before],
            "database": (root / FILE).stat().st_size / 2**20,
            "folder": sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 2**20,
            "busy": clock.busy,
            # Some also waited for their turn on the processor.
            "waited": statistics.median(clock.waits) * len(clock.waits),
        }
    print(json.dumps(found))


def report(found: dict[str, Any]) -> None:
    trials, marks, busy, waited = (found[name] for name in ("trials", "marks", "busy", "waited"))
    parts = {part: took for part, took in busy.items() if part not in (START, PICTURES, WORKERS) and took > 0}
    seconds = sum(parts.values()) + waited
    print(
        f"  {trials:,} trials: {trials / seconds:,.0f} trials/s, {found['messages'] / seconds:,.0f} messages/s, "
        f"{1e3 * seconds / trials:.2f} ms a trial; start and end {busy[START]:.1f} s, {PICTURES} {busy[PICTURES]:.1f} s"
    )
    if marks:
        print(f"    the last tenth takes {(marks[-1] - marks[-2]) / (marks[1] - marks[0]):.2f} times as long as the second")
    running, ended = found["memory"]
    print(
        f"    memory {running:.0f} MiB while it runs, {ended:.0f} MiB with the pictures; study.db {found['database']:.1f} MiB, "
        f"the study's folder {found['folder']:.1f} MiB"
    )
    shown = [f"{part} {1e6 * took / trials:,.0f} us ({took / seconds:.0%})" for part, took in parts.items()]
    shown.append(f"SQLite's waits for the disk {1e6 * waited / trials:,.0f} us ({waited / seconds:.0%})")
    print(f"    a trial: {', '.join(shown)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--strategies", nargs="+", default=["random", "quasi", "coarse-to-fine"])
    parser.add_argument("--pruner", choices=("halving", "one-bracket", "asha"))
    parser.add_argument("--fuse", choices=("auto", "never"), default="never")
    parser.add_argument("--halt", type=float, default=600.0, help="seconds after which no further trial begins")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.run:
        silence()
        search(options)
        return
    print(f"{options.workers:,} workers, {options.epochs} epochs a trial, pruner {options.pruner}, fuse {options.fuse}")
    same = ["--workers", options.workers, "--epochs", options.epochs, "--fuse", options.fuse, "--halt", options.halt]
    same += ["--pruner", options.pruner] if options.pruner else []
    for name in options.strategies:
        print(name)
        for trials in options.trials:
            report(json.loads(child(__file__, "--run", "--trials", trials, "--strategies", name, *same)))
    print(versions())


if __name__ == "__main__":
    main()
