"""What it costs to ask a strategy for the next trial, by how many trials have finished, beside Optuna's.

    pip install optuna; python tests/benchmarks/asking.py [--finished 10 1000 100000]

Ours are asked for a round; printed is the time for one trial of it, best of three. Optuna's samplers are asked by study.ask and
suggest_float, after one ask that reads the trials. And a million quasi-random proposals.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lightning_hp import CoarseToFine, Linear, Log, Quasi, Random, ReverseLog, Space, Trial

SPACE = Space({"lr": Log(1e-5, 1.0), "momentum": ReverseLog(0.5, 0.999), "decay": Log(1e-6, 0.1), "dropout": Linear(0.0, 0.5)})


def history(count: int) -> list[Trial]:
    """Finished trials, the more the nearer to one point, as those of a search are."""
    generator = np.random.default_rng(0)
    spread = np.linspace(0.5, 0.05, count)[:, None]
    units = np.clip(0.6 + spread * generator.standard_normal((count, len(SPACE))), 0, 1)
    values = ((units - 0.6) ** 2).sum(axis=1) + 0.01 * generator.standard_normal(count)
    hparams = SPACE.from_unit(units)
    return [Trial(n, hparams[n], seed=0, state="complete", value=float(values[n]), epochs=1) for n in range(count)]


def ours(sampler: Any, finished: int) -> float:
    """Seconds for a proposal."""
    seen = history(finished)
    first = sampler.round_of(finished).stop if isinstance(sampler, CoarseToFine) else finished
    count = len(sampler.round_of(first)) if isinstance(sampler, CoarseToFine) else 8

    def ask(seed: int) -> None:
        for number in range(first, first + count):
            sampler.propose(SPACE, seed, [number], seen)

    return _fastest(ask) / count


def optunas(sampler: Any, finished: int) -> float:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    space = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in SPACE}
    study = optuna.create_study(sampler=sampler)
    trials = history(finished)
    units = SPACE.to_unit([trial.hparams for trial in trials])
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=dict(zip(SPACE, map(float, row), strict=True)), distributions=space, value=trial.value
            )
            for row, trial in zip(units, trials, strict=True)
        ]
    )

    def ask(seed: int) -> None:
        trial = study.ask()
        for name in SPACE:
            trial.suggest_float(name, 0.0, 1.0)
        study.tell(trial, 1.0)

    ask(0)
    return _fastest(ask)


def _fastest(ask: Callable[[int], None]) -> float:
    times = []
    for seed in range(3):
        began = time.perf_counter()
        ask(seed)
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--finished", type=int, nargs="+", default=[10, 1_000, 100_000])
    parser.add_argument("--longest", type=float, default=20.0, help="seconds after which a larger study is not tried")
    options = parser.parse_args()
    began = time.perf_counter()
    proposed = Quasi().propose(SPACE, 0, range(1_000_000), [])
    print(f"a million quasi-random proposals: {time.perf_counter() - began:.1f} s ({len(proposed)} dicts of {len(SPACE)})")
    askers: dict[str, Callable[[int], float]] = {
        "random": lambda count: ours(Random(), count),
        "quasi": lambda count: ours(Quasi(), count),
        "coarse-to-fine": lambda count: ours(CoarseToFine(), count),
    }
    try:
        import optuna

        askers["Optuna TPE"] = lambda count: optunas(optuna.samplers.TPESampler(seed=0), count)
        askers["Optuna GP"] = lambda count: optunas(optuna.samplers.GPSampler(seed=0), count)
    except ModuleNotFoundError:
        print("Optuna is not installed: pip install optuna")
    print(f"\n{'ms a trial':16}" + "".join(f"{count:>12,}" for count in options.finished) + "   finished trials")
    for name, asker in askers.items():
        row, last = [], 0.0
        for count in options.finished:
            # Most grow at least in proportion.
            last = asker(count) if last * 10 < options.longest else math.inf
            row.append(f"{1e3 * last:12.2f}" if math.isfinite(last) else f"{'not tried':>12}")
        print(f"{name:16}" + "".join(row), flush=True)


if __name__ == "__main__":
    main()
