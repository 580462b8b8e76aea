"""How many trials of a search one babysat fit is worth, where nothing is known but the ranges.

    python tests/benchmarks/which_way.py [--fits 48] [--seeds 40] [--tasks digits diabetes code]

Random configurations of the tasks of tests/benchmarks/tasks.py are trained as they are, and babysat, for the same number of
epochs. Beside that stands what a search has found after so many trials: random draws from the table of trained
configurations, and coarse-to-fine replayed on it (tests/benchmarks/replayed.py). Printed are medians of the
best epoch's validation loss with 95% intervals by bootstrap, and after how many trials the search's median is as good.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from common import silence, versions
from numpy.typing import NDArray
from regret import interval, replay
from tasks import TABLES, TASKS

from lightning_hp import Babysitter, Random, SearchLoop

Array = NDArray[np.float64]

TRIALS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
# So many times a number of trials is drawn from the table.
DRAWS = 4000


def fitted(name: str, fits: int, policy: str | None) -> Array:
    """What random configurations come to, alone or babysat; infinity for those that diverge."""
    task = TASKS[name]
    with tempfile.TemporaryDirectory() as root:
        study = SearchLoop(
            task.model,
            space=task.space,
            data=task.data,
            monitor=task.monitor,
            strategy="random",
            enqueue=Random().propose(task.space, 1, range(fits), []),
            trials=fits,
            trainer={"max_epochs": task.epochs, "accelerator": "cpu"},
            babysit=Babysitter(policy=policy) if policy else False,
            keep_checkpoints=1,
            root_dir=root,
            progress=False,
        ).run()
        return np.array([trial.value if trial.state == "complete" else np.inf for trial in study.trials], float)


def random_search(name: str, trials: int) -> Array:
    """The best of so many configurations of the table, many times."""
    with np.load(TABLES / f"{name}.npz") as arrays:
        values = np.nan_to_num(arrays["curves"].astype(float), nan=np.inf).min(axis=1)
    return np.asarray(np.random.default_rng(0).choice(values, (DRAWS, trials)).min(axis=1))


def coarse_to_fine(name: str, seeds: int) -> Array:
    """What the best trial so far is worth, of shape (seeds, trials)."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return np.array(list(pool.map(partial(_replayed, name), range(seeds))))


def _replayed(name: str, seed: int) -> list[float]:
    return replay(name, "coarse-to-fine", seed, max(TRIALS)).best


def _told(values: Array) -> str:
    # An interval cannot be drawn from infinities.
    median, low, high = interval(np.minimum(values, 1e9))
    return f"{median:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options = parser.parse_args()
    silence()
    print(versions())
    for name in options.tasks:
        zoomed = coarse_to_fine(name, options.seeds)
        drawn = {trials: random_search(name, trials) for trials in TRIALS}
        print(f"\n{name}: trials, random search, coarse-to-fine")
        for trials in TRIALS:
            print(f"  {trials:3}  {np.median(drawn[trials]):.3f}  {_told(zoomed[:, trials - 1])}", flush=True)
        for policy in (None, "reduce", "probe"):
            values = fitted(name, options.fits, policy)
            worth = [trials for trials in range(1, max(TRIALS) + 1) if np.median(zoomed[:, trials - 1]) <= np.median(values)]
            as_good = f"as good as {worth[0]} trials" if worth else f"better than {max(TRIALS)} trials"
            print(f"  one fit, {policy or 'left alone'}: {_told(values)}, {as_good} of coarse-to-fine", flush=True)


if __name__ == "__main__":
    main()
