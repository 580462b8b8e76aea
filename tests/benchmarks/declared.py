"""What the scale that is declared for a hyperparameter is worth: linear, log and reverse log for lr and momentum.

    python tests/benchmarks/declared.py [--seeds 100] [--trials 64] [--picture .github/images/declared.png]

The task is the small network on the digits of tests/benchmarks/tasks.py, replayed. lr and momentum are drawn over the same
ranges on one scale or another, the rest as in the task. Printed is the regret of the best of so many trials: the median over
the seeds and its 95% interval by bootstrap.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from regret import interval
from replayed import replayed

from lightning_hp import CoarseToFine, Linear, Log, Random, ReverseLog, Space, Trial

LOW_LR, HIGH_LR, HIGH_MOMENTUM = 1e-4, 3.0, 0.999
DECLARED = {
    "lr linear, momentum linear": {"lr": Linear(LOW_LR, HIGH_LR), "momentum": Linear(0.0, HIGH_MOMENTUM)},
    "lr log, momentum linear": {"lr": Log(LOW_LR, HIGH_LR), "momentum": Linear(0.0, HIGH_MOMENTUM)},
    "lr linear, momentum reverse log": {"lr": Linear(LOW_LR, HIGH_LR), "momentum": ReverseLog(0.0, HIGH_MOMENTUM)},
    "lr log, momentum reverse log": {"lr": Log(LOW_LR, HIGH_LR), "momentum": ReverseLog(0.0, HIGH_MOMENTUM)},
}


def search(space: Space, sampler: Any, seed: int, trials: int) -> tuple[list[float], np.ndarray]:
    """The least value after each trial, and all points in the task's own unit coordinates."""
    task = replayed("digits")
    history: list[Trial] = []
    while len(history) < trials:
        numbers = range(len(history), min(sampler.round_of(len(history)).stop, trials))
        for number, hparams in zip(numbers, sampler.propose(space, seed, numbers, history), strict=True):
            curve = task.curve(task.space.to_unit([hparams])[0], 0)
            diverged = not np.isfinite(curve).all()
            state, value = ("diverged", None) if diverged else ("complete", float(curve.min()))
            history.append(Trial(number, hparams, seed=0, state=state, value=value, epochs=task.epochs))
    values = [np.inf if trial.value is None else trial.value for trial in history]
    return np.minimum.accumulate(values).tolist(), task.space.to_unit([trial.hparams for trial in history])


def draw(path: Path, points: dict[str, np.ndarray]) -> None:
    """Where the trials of one search lie, over what the task is worth there."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    task = replayed("digits")
    side = np.linspace(0, 1, 60)
    grid = np.array([[x, y, 0.3, 0.2, 0.25] for y in side for x in side])
    worth = np.array([task.truth(each) for each in grid]).reshape(60, 60)
    figure, axes = plt.subplots(1, len(points), figsize=(3.4 * len(points), 3.6), sharey=True, constrained_layout=True)
    lrs, momenta = [1e-4, 1e-3, 1e-2, 0.1, 1.0], [0.0, 0.9, 0.99, 0.999]
    for axis, (name, units) in zip(axes, points.items(), strict=True):
        shown = axis.pcolormesh(side, side, np.log10(worth), cmap="viridis_r", shading="gouraud")
        axis.scatter(units[:, 0], units[:, 1], s=14, c="white", edgecolors="black", linewidths=0.6)
        axis.set_title(name.replace(", ", "\n"), fontsize=10)
        axis.set_xticks(task.space["lr"].to_unit(np.array(lrs)), [f"{lr:g}" for lr in lrs])
        axis.set_yticks(task.space["momentum"].to_unit(np.array(momenta)), [f"{momentum:g}" for momentum in momenta])
        axis.set_xlabel("lr")
    axes[0].set_ylabel("momentum")
    figure.colorbar(shown, ax=axes, label="log10 of the best val_loss", shrink=0.9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    task, points = replayed("digits"), {}
    for name, scales in DECLARED.items():
        space = Space({**task.space, **scales})
        for strategy, sampler, seeds in (
            ("random", Random(), options.seeds),
            ("coarse-to-fine", CoarseToFine(), options.seeds),
        ):
            found = [search(space, sampler, seed, options.trials) for seed in range(seeds)]
            if strategy == "random":
                points[name] = found[0][1]
            told = []
            for count in (options.trials // 4, options.trials):
                median, low, high = interval(np.array([best[count - 1] for best, _ in found]) - task.optimum)
                told.append(f"{count:4}: {median:.3g} ({low:.3g} to {high:.3g})")
            print(f"{name:34} {strategy:16} {'   '.join(told)}", flush=True)
    if options.picture:
        draw(options.picture, points)


if __name__ == "__main__":
    main()
