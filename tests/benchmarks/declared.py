"""What the scale that is declared for a hyperparameter is worth: linear, log and reverse log for lr and momentum.

    python tests/benchmarks/declared.py [--task code] [--seeds 100] [--trials 64] [--picture .github/images/declared.png]

The tasks are those of tests/benchmarks/tasks.py that have an lr and a momentum, replayed. lr and momentum are drawn over the
same ranges on one scale or another, the rest as in the task. Printed is the regret of the best of so many trials: the median
over the seeds and its 95% interval by bootstrap.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from regret import interval
from replayed import Replayed, replayed

from lightning_hp import Linear, Log, ReverseLog, Space, Trial
from lightning_hp.samplers import sampler_for
from lightning_hp.samplers.quasi import sobol

DECLARED = [(lr, momentum) for momentum in (Linear, ReverseLog) for lr in (Linear, Log)]
NAMES = {Linear: "linear", Log: "log", ReverseLog: "reverse log"}


def search(task: Replayed, space: Space, sampler: Any, seed: int, trials: int) -> tuple[list[float], np.ndarray]:
    """The least value after each trial, and all points in the task's own unit coordinates."""
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


def draw(path: Path, task: Replayed, points: dict[str, np.ndarray]) -> None:
    """Where the trials of one search lie, over what the task is worth there."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    side = np.linspace(0, 1, 60)
    # The rest where it is best.
    rest = points.pop("rest")
    grid = np.array([[x, y, *rest] for y in side for x in side])
    worth = np.array([task.truth(each) for each in grid]).reshape(60, 60)
    figure, axes = plt.subplots(1, len(points), figsize=(3.4 * len(points), 3.6), sharey=True, constrained_layout=True)
    lrs = [lr for lr in (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0) if task.space["lr"].low <= lr <= task.space["lr"].high]
    momenta = [momentum for momentum in (0.0, 0.9, 0.99, 0.999) if momentum <= task.space["momentum"].high]
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
    parser.add_argument("--task", choices=["digits", "code"], default="code")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--strategies", nargs="+", default=["random", "coarse-to-fine"])
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    task, points = replayed(options.task), {}
    low_lr, high_lr = task.space["lr"].low, task.space["lr"].high
    low_momentum, high_momentum = task.space["momentum"].low, task.space["momentum"].high
    for lr, momentum in DECLARED:
        name = f"lr {NAMES[lr]}, momentum {NAMES[momentum]}"
        space = Space({**task.space, "lr": lr(low_lr, high_lr), "momentum": momentum(low_momentum, high_momentum)})
        for strategy in options.strategies:
            found = [search(task, space, sampler_for(strategy), seed, options.trials) for seed in range(options.seeds)]
            if strategy == "random":
                points[name] = found[0][1]
            told = []
            for count in (options.trials // 4, options.trials):
                median, low, high = interval(np.array([best[count - 1] for best, _ in found]) - task.optimum)
                told.append(f"{count:4}: {median:.3g} ({low:.3g} to {high:.3g})")
            print(f"{name:34} {strategy:16} {'   '.join(told)}", flush=True)
    if options.picture:
        everywhere = sobol(len(task.space), 0, range(4096))
        points["rest"] = everywhere[np.argmin([task.truth(each) for each in everywhere])][2:]
        draw(options.picture, task, points)


if __name__ == "__main__":
    main()
