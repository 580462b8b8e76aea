"""How long Optuna's TPE takes to propose a trial, here and in a study of its own.

    python tests/benchmarks/optuna_ask.py [--trials 10 1000 10000] [--asks 15]

Printed are milliseconds, the median of the asks, each after one more trial has finished; ``first`` is the first ask, as after a
restart, for which all finished trials are made Optuna's.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lightning_hp import Choice, Int, Log, LogInt, OptunaSampler, Random, ReverseLog, Space, Trial

SPACE = Space(
    {
        "lr": Log(1e-4, 1.0),
        "momentum": ReverseLog(0.9, 0.999),
        "hidden": Int(50, 100),
        "batch_size": LogInt(16, 256),
        "activation": Choice("relu", "tanh", "gelu"),
    }
)
DISTRIBUTIONS = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "momentum": FloatDistribution(0.9, 0.999),
    "hidden": IntDistribution(50, 100),
    "batch_size": IntDistribution(16, 256, log=True),
    "activation": CategoricalDistribution(["relu", "tanh", "gelu"]),
}


def here(points: list[dict], values: list[float], asks: int) -> tuple[float, float]:
    """Seconds of the first ask, and of a later one."""
    sampler, took = OptunaSampler(), []
    history = [Trial(number, point, 0, "complete", values[number]) for number, point in enumerate(points)]
    for ask in range(asks + 1):
        start = time.perf_counter()
        (hparams,) = sampler.propose(SPACE, 0, [len(history)], history)
        took.append(time.perf_counter() - start)
        history = [*history, Trial(len(history), hparams, 0, "complete", values[ask])]
    return took[0], statistics.median(took[1:])


def bare(points: list[dict], values: list[float], asks: int) -> float:
    """Seconds of an ask and a tell of a study of Optuna's."""
    study, took = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0)), []
    for point, value in zip(points, values, strict=False):
        study.add_trial(optuna.trial.create_trial(params=point, distributions=DISTRIBUTIONS, value=value))
    for ask in range(asks):
        start = time.perf_counter()
        study.tell(study.ask(DISTRIBUTIONS), values[ask])
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 1000, 10000])
    parser.add_argument("--asks", type=int, default=15)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{'finished':>10}{'first':>10}{'here':>10}{'optuna':>10}")
    for count in arguments.trials:
        points = Random().propose(SPACE, 0, range(count), [])
        values = np.random.default_rng(0).random(max(count, arguments.asks + 1)).tolist()
        first, later = here(points, values, arguments.asks)
        figures = (first, later, bare(points, values, arguments.asks))
        print(f"{count:>10}" + "".join(f"{1000 * each:>10.1f}" for each in figures))


if __name__ == "__main__":
    main()
