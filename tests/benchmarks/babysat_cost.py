"""What babysitting costs: the same fit without and with a babysitter, by turns in one process.

    python tests/benchmarks/babysat_cost.py [--rounds 20] [--tasks digits photo code] [--policies reduce probe]

The tasks are those of babysat_tasks.py, from the right lr. Each round fits a task without a babysitter, with each policy, and
without once more, in an order that turns round by round; what the second one without costs more than the first is the noise.
Printed are, for a step, the median over the rounds of what it takes more than without, by the whole training's time and by the
median step (which most of what happens only every so many steps does not touch), and the time spent in the babysitter's own
hooks, as a part of all the training. On a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from babysat_fits import one_thread
from babysat_tasks import EPOCHS, MONITOR, TASKS, right
from common import silence, versions
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from regret import interval

from lightning_hp import Babysitter


class Clock(Callback):
    """Times the steps of a fit, from the start of one batch to the start of the next."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ticks = [time.perf_counter()]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.ticks.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ticks.append(time.perf_counter())

    @property
    def mean(self) -> float:
        return (self.ticks[-1] - self.ticks[0]) / (len(self.ticks) - 2)

    @property
    def median(self) -> float:
        return statistics.median(after - before for before, after in zip(self.ticks, self.ticks[1:], strict=False))


class Hooks:
    """The time spent in a callback's own hooks."""

    def __init__(self, callback: Callback) -> None:
        self.spent = 0.0
        for name in [name for name in dir(Callback) if name.startswith("on_")]:
            if getattr(type(callback), name) is not getattr(Callback, name):
                setattr(callback, name, self._timed(getattr(callback, name)))

    def _timed(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return hook(*arguments, **named)
            finally:
                self.spent += time.perf_counter() - began

        return timed


def measure(task: str, policy: str | None, epochs: int) -> tuple[float, float, float]:
    """Seconds a step, by the whole training and by the median step, and the part of them spent in the babysitter's hooks."""
    clock, babysitters = Clock(), [] if policy is None else [Babysitter(MONITOR, policy=policy)]
    hooks = [Hooks(babysitter) for babysitter in babysitters]
    seed_everything(0, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            callbacks=[*babysitters, clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        # Each fit pays for its own garbage, and not for that of the others.
        gc.collect()
        trainer.fit(TASKS[task].model(**right(task)), *TASKS[task].loaders())
    whole = clock.ticks[-1] - clock.ticks[0]
    return clock.mean, clock.median, sum(each.spent for each in hooks) / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--policies", nargs="+", default=["reduce", "probe"])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    silence()
    one_thread()
    # None is without a babysitter, and the empty name without one once more.
    sides = [None, *options.policies, ""]
    for task in options.tasks:
        measure(task, None, 1)
        took: dict[str | None, list[tuple[float, float, float]]] = {side: [] for side in sides}
        for number in range(options.rounds):
            for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
                took[side].append(measure(task, side or None, options.epochs))
        print(f"{task}: {1e6 * statistics.median(mean for mean, _, _ in took[None]):.0f} us a step without a babysitter")
        for side in sides[1:]:
            print(f"  {side or 'without, once more':18}  {_told(took[side], took[None])}", flush=True)
    print(versions())


def _told(side: list[tuple[float, float, float]], without: list[tuple[float, float, float]]) -> str:
    with_it, alone = np.array(side), np.array(without)
    mean, step = (100 * (with_it[:, which] / alone[:, which] - 1) for which in (0, 1))
    told = [f"{name} {_more(values)}" for name, values in (("training", mean), ("median step", step))]
    inside = 100 * with_it[:, 2]
    return "   ".join([*told, f"in its hooks {np.median(inside):.2f}% ({inside.min():.2f} to {inside.max():.2f})"])


def _more(values: np.ndarray) -> str:
    median, low, high = interval(values)
    return f"{median:+.2f}% ({low:+.2f} to {high:+.2f})"


if __name__ == "__main__":
    main()
