"""How long a million draws of a six-dimensional space take.

    python tests/benchmarks/draws.py [--draws 1000000] [--rounds 5]

Printed are seconds, the median of the rounds, with the fastest and the slowest: from the unit cube to a list of dicts.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from lightning_hp import Choice, Int, Linear, Log, LogInt, ReverseLog, Space

SPACE = Space(
    {
        "lr": Log(1e-4, 1.0),
        "momentum": ReverseLog(0.9, 0.999),
        "dropout": Linear(0.0, 0.5),
        "hidden": Int(50, 100),
        "batch_size": LogInt(16, 256),
        "activation": Choice("relu", "tanh", "gelu"),
    }
)


def seconds(draws: int) -> float:
    """How long one round takes, the drawing of the points left out."""
    points = np.random.default_rng(0).random((draws, len(SPACE)))
    start = time.perf_counter()
    drawn = SPACE.from_unit(points)
    took = time.perf_counter() - start
    assert len(drawn) == draws
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1_000_000, help="how many draws a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how many rounds (%(default)s)")
    options = parser.parse_args()
    rounds = [seconds(options.draws) for _ in range(options.rounds)]
    median = statistics.median(rounds)
    print(f"{options.draws} draws of {len(SPACE)} hyperparameters: {median:.2f} s ({min(rounds):.2f} to {max(rounds):.2f})")


if __name__ == "__main__":
    main()
