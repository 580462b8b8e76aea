"""How much each strategy gets out of every trial: regret against trials, and against epochs, with Optuna's beside ours.

    pip install optuna; python tests/benchmarks/regret.py [--seeds 100] [--trials 64] [--tasks ...] [--strategies ...]

Two kinds of tasks. Real ones, whose learning curves are replayed (tests/benchmarks/replayed.py), noise included. And functions
of the literature, put on log, reverse log and linear axes. Ours run as in a search, by the same code that asks samplers and
pruners; Optuna's are given the unit coordinates of our scales, to gain by them too. Regret is what the best trial so far is
worth without its luck, less the best there is. Printed are the median over the seeds and its 95% interval by bootstrap.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from functions import FUNCTIONS
from numpy.typing import NDArray
from replayed import Replayed, replayed
from tasks import TASKS

from lightning_hp import CoarseToFine, Grid, Halving, Quasi, Random
from lightning_hp.executors.inline import Inline
from lightning_hp.pruners import pruner_for
from lightning_hp.search.ask import Ask
from lightning_hp.search.books import books_for
from lightning_hp.search.dispatch import Dispatch
from lightning_hp.search.plan import Plan
from lightning_hp.seeds import trial_seed
from lightning_hp.trial import Emit, Finished, Job, Outcome, Paused, State

Array = NDArray[np.float64]


@dataclass
class Record:
    """What a search has found, trial by trial: epochs spent, and what the best trial so far is worth."""

    epochs: list[int]
    best: list[float]
    _seen: float = math.inf

    def add(self, task: Replayed, units: Array, spent: int, value: float | None) -> None:
        """Takes in a trial that has ended, with its value if it counts among the best."""
        self.epochs.append((self.epochs[-1] if self.epochs else 0) + spent)
        if value is not None and value < self._seen:
            self._seen = value
            self.best.append(task.truth(units))
        else:
            self.best.append(self.best[-1] if self.best else math.inf)


def replay(name: str, strategy: str, seed: int, trials: int) -> Record:
    """A search of ours: ``coarse-to-fine``, or with a pruner ``coarse-to-fine+asha``."""
    task, record = replayed(name), Record([], [])
    named, _, pruner = strategy.partition("+")
    sampler: Any = {
        "random": Random(),
        "quasi": Quasi(),
        "grid": Grid(max(2, round(trials ** (1 / len(task.space))))),
        "coarse-to-fine": CoarseToFine(),
        "coarse-to-fine-by-3": CoarseToFine(8, 3),
        "coarse-to-fine-12-by-3": CoarseToFine(12, 3),
    }[named]
    spent: dict[int, int] = {}

    def work(job: Job, emit: Emit) -> None:
        for trial in job.trials:
            units = task.space.to_unit([trial.hparams])[0]
            until = job.until.at if job.until is not None else task.epochs
            curve = task.curve(units, trial.seed)[:until]
            finite = curve[: np.argmin(np.isfinite(curve))] if not np.isfinite(curve).all() else curve
            diverged = len(finite) < len(curve)
            value = None if diverged else float(finite.min())
            trained, spent[trial.number] = len(finite) + diverged - spent.get(trial.number, 0), len(finite)
            ended = diverged or job.until is None
            record.add(task, units, trained, value if ended else None)
            state: State = "diverged" if diverged else "complete" if ended else "pruned"
            outcome = Outcome(state, value, len(finite))
            emit((Finished if ended else Paused)(trial.number, outcome, 0.0))

    ask = Ask(task.space, sampler, seed)
    most = lambda hparams: task.epochs  # noqa: E731
    chosen = pruner_for(PRUNERS.get(pruner, pruner or None))
    ladder = books_for(chosen, "min", most, ask.round_of, trials) if chosen is not None else None
    plan = Plan(most=1, until=ladder.until) if ladder is not None else Plan(most=1)
    dispatch = Dispatch(ask, trials, None, 0, most, [], [], plan, ladder=ladder)
    Inline().run(dispatch.next_job, work, dispatch.take)
    return record


def replay_optuna(name: str, strategy: str, seed: int, trials: int) -> Record:
    """The same by Optuna."""
    import optuna

    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task, record = replayed(name), Record([], [])
    samplers = {
        "tpe": optuna.samplers.TPESampler,
        "gp": optuna.samplers.GPSampler,
        "cma": optuna.samplers.CmaEsSampler,
        "hyperband": optuna.samplers.TPESampler,
    }
    pruner: Any = optuna.pruners.NopPruner()
    if strategy == "hyperband":
        pruner = optuna.pruners.HyperbandPruner(max_resource=task.epochs, reduction_factor=3)
    study = optuna.create_study(sampler=samplers[strategy](seed=seed), pruner=pruner)
    for _ in range(trials):
        trial = study.ask()
        units = np.array([_suggested(trial, key, scale) for key, scale in task.space.items()])
        units = task.space.to_unit(task.space.from_unit(units[None]))[0]
        curve = task.curve(units, trial_seed(seed, trial.number))
        best, state, spent = math.inf, optuna.trial.TrialState.COMPLETE, 0
        for epoch, value in enumerate(curve):
            spent += 1
            if not math.isfinite(value):
                best, state = math.nan, optuna.trial.TrialState.FAIL
                break
            best = min(best, float(value))
            trial.report(best, epoch + 1)
            if trial.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
        complete = state == optuna.trial.TrialState.COMPLETE
        study.tell(trial, best if complete else None, state)
        record.add(task, units, spent, best if complete else None)
    return record


def _suggested(trial: Any, name: str, scale: Any) -> float:
    if hasattr(scale, "values"):
        count = len(scale.values)
        return (trial.suggest_categorical(name, list(range(count))) + 0.5) / count
    unit: float = trial.suggest_float(name, 0.0, 1.0)
    return unit


# Halving over the whole search: all trials to a first rung, one in six of all from there to the second, one in six of these to
# the end.
PRUNERS = {"halving-all": Halving(rungs=(6, 12), factor=6, size="all")}
OURS = ("random", "quasi", "grid", "coarse-to-fine")
ALL = (
    "coarse-to-fine+halving-all",
    "coarse-to-fine-by-3+halving-all",
    "coarse-to-fine+progressive",
    "coarse-to-fine-12-by-3+progressive",
)
PRUNED = (*(f"{each}+{pruner}" for pruner in ("halving", "asha") for each in OURS), *ALL)
# Those that are pruned take fewer epochs each: in place of 64, this many.
MORE_IF_PRUNED = 80
# These have their results at the end, which is to come after a quarter of the epochs.
AT_ONCE = {"halving-all": 59, "progressive": 72}
PEERS = ("tpe", "gp", "cma", "hyperband")


def run(job: tuple[str, str, int, int]) -> tuple[tuple[str, str, int, int], Record]:
    return job, (replay if job[1].partition("+")[0] not in PEERS else replay_optuna)(*job)


def interval(values: Array) -> tuple[float, float, float]:
    """The median, and its 95% interval by bootstrap."""
    generator = np.random.default_rng(0)
    drawn = np.median(generator.choice(values, (2000, len(values))), axis=1)
    return float(np.median(values)), float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--tasks", nargs="+", default=[*TASKS, *FUNCTIONS])
    parser.add_argument("--strategies", nargs="+", default=[*OURS, *PRUNED, *PEERS])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="keep all records here")
    options = parser.parse_args()
    for name in options.tasks:
        optimum, began = replayed(name).optimum, time.perf_counter()
        jobs = [
            (name, each, seed, _trials(each, options.trials))
            for each in options.strategies
            for seed in range(options.seeds)
            # There is nothing to prune where a trial has one epoch.
            if replayed(name).epochs > 1 or ("+" not in each and each != "hyperband")
        ]
        # What is to have twice the budget.
        jobs += [(name, "random", seed, 2 * options.trials) for seed in range(options.seeds) if "random" in options.strategies]
        with ProcessPoolExecutor(options.processes, initializer=_one_thread) as pool:
            records = dict(pool.map(run, jobs, chunksize=4))
        print(f"\n{name} (best {optimum:.4g}; {time.perf_counter() - began:.0f} s)")
        for strategy in options.strategies:
            for trials in sorted({job[3] for job in jobs if job[1] == strategy}):
                of = [records[name, strategy, seed, trials] for seed in range(options.seeds)]
                print(f"  {strategy:24} {trials:4} {_told(of, optimum, options.trials, replayed(name).epochs)}", flush=True)
        if options.json:
            _keep(options.json, records)


def _trials(strategy: str, trials: int) -> int:
    pruner = strategy.partition("+")[2]
    return trials * AT_ONCE.get(pruner, MORE_IF_PRUNED if pruner else 64) // 64


def _told(records: Sequence[Record], optimum: float, trials: int, epochs: int) -> str:
    """The regret after parts of the trials, if all train to the end; otherwise after parts of the epochs that they take."""
    told = []
    for part in (0.25, 0.5, 1.0):
        budget = part * trials * epochs
        found = [
            record.best[bisect_right(record.epochs, budget) - 1] if record.epochs[0] <= budget else math.inf
            for record in records
        ]
        median, low, high = interval(np.minimum(np.array(found) - optimum, 1e9))
        told.append(f"{budget:6.0f}: {median:.3g} ({low:.3g} to {high:.3g})")
    last = np.array([record.best[-1] for record in records]) - optimum
    spent = np.array([record.epochs[-1] for record in records])
    median, low, high = interval(last)
    ends = f"end ({spent.mean():.0f}, {spent.min()} to {spent.max()})"
    return "  ".join([*told, f"{ends}: {median:.3g} ({low:.3g} to {high:.3g})"])


def _keep(path: Path, records: dict[Any, Record]) -> None:
    with path.open("a") as file:
        for (name, strategy, seed, trials), record in records.items():
            file.write(json.dumps([name, strategy, seed, trials, record.epochs, record.best]) + "\n")


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
