"""What babysitting costs: the same fit without and with a babysitter, by turns in one process.

    python tests/benchmarks/babysat_cost.py [--rounds 20] [--tasks digits photo code] [--policies reduce probe]

The tasks are those of babysat_tasks.py, from the right lr. Each round fits a task without a babysitter, with each policy, and
without once more, in an order that turns round by round; what the second one without costs more than the first is the noise.
Time is the processor's, in one thread, so that others on the machine disturb little. Printed are the medians over the rounds of
what a step takes more than without, by the whole training and by the median step (which what happens only every so many steps
does not touch), with 95% intervals by bootstrap; and, from fits of their own, as timing them takes time as well, what is
spent in its own hooks, less what is found so for a callback whose same hooks do nothing: as a part of the training;
of it at steps, as a part of a step; and at checks, in microseconds each. At steps is what is in the hooks of batches, but for
what comes before an epoch's first, where what a check has called for is done: here each epoch ends with a check.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from babysat_fits import one_thread
from babysat_tasks import EPOCHS, MONITOR, TASKS, right
from common import silence, versions
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from numpy.typing import NDArray
from regret import interval

from lightning_hp import Babysitter

Array: TypeAlias = NDArray[np.float64]

AT_STEPS = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end")


class Clock(Callback):
    """Times the steps of a fit, from the start of one batch to the start of the next."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ticks = [time.process_time()]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.ticks.append(time.process_time())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ticks.append(time.process_time())

    @property
    def mean(self) -> float:
        return (self.ticks[-1] - self.ticks[0]) / (len(self.ticks) - 2)

    @property
    def median(self) -> float:
        return statistics.median(after - before for before, after in zip(self.ticks, self.ticks[1:], strict=False))


class Hooks:
    """The seconds spent in a callback's own hooks, less what it takes to read the clock: at steps, and elsewhere."""

    def __init__(self, callback: Callback) -> None:
        self._at_steps: list[float] = []
        self._elsewhere: list[float] = []
        for name in [name for name in dir(Callback) if name.startswith("on_")]:
            if getattr(type(callback), name) is not getattr(Callback, name):
                setattr(callback, name, self._timed(name, getattr(callback, name)))

    def _timed(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            first = name == "on_train_batch_start" and arguments[-1] == 0
            spent = self._at_steps if name in AT_STEPS and not first else self._elsewhere
            began = time.process_time()
            try:
                return hook(*arguments, **named)
            finally:
                spent.append(time.process_time() - began)

        return timed

    @property
    def spent(self) -> Array:
        at_steps, elsewhere = list(self._at_steps), list(self._elsewhere)
        nothing = self._timed("", lambda: None)
        for _ in range(1000):
            nothing()
        reading = (sum(self._elsewhere) - sum(elsewhere)) / 1000
        return np.array([sum(spent) - len(spent) * reading for spent in (at_steps, elsewhere)])


class Nothing(Callback):
    """A callback that has the Babysitter's hooks, and does nothing in them."""


for _name in [name for name in dir(Callback) if getattr(Babysitter, name) is not getattr(Callback, name)]:
    if _name.startswith("on_"):
        setattr(Nothing, _name, lambda self, *arguments: None)


def train(task: str, babysitters: list[Callback], epochs: int) -> Clock:
    clock = Clock()
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
    return clock


def step(task: str, policy: str | None, epochs: int) -> tuple[float, float]:
    """Seconds a step, by the whole training and by the median step."""
    clock = train(task, [] if policy is None else [Babysitter(MONITOR, policy=policy)], epochs)
    return clock.mean, clock.median


def inside(task: str, callback: Callback, epochs: int) -> Array:
    """What is spent in a callback's hooks: as a part of the training, at steps as a part of it, and elsewhere in seconds."""
    hooks = Hooks(callback)
    clock = train(task, [callback], epochs)
    took, spent = clock.ticks[-1] - clock.ticks[0], hooks.spent
    return np.array([spent.sum() / took, spent[0] / took, spent[1]])


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
        train(task, [], 1)
        took: dict[str | None, list[tuple[float, float]]] = {side: [] for side in sides}
        hooked: dict[str, list[Array]] = {policy: [] for policy in options.policies}
        for number in range(options.rounds):
            turn = number % len(sides)
            for side in sides[turn:] + sides[:turn]:
                took[side].append(step(task, side or None, options.epochs))
            # Between two steps the clock itself takes longer than when it is read again and again.
            nothing = inside(task, Nothing(), options.epochs)
            for policy in options.policies:
                hooked[policy].append(inside(task, Babysitter(MONITOR, policy=policy), options.epochs) - nothing)
        print(f"{task}: {1e6 * statistics.median(mean for mean, _ in took[None]):.0f} us a step without a babysitter")
        for side in sides[1:]:
            told = _told(took[side], took[None])
            if side:
                told += _told_of_hooks(np.array(hooked[side]), options.epochs)
            print(f"  {side or 'without, once more':18}  {'   '.join(told)}", flush=True)
    print(versions())


def _told(side: list[tuple[float, float]], without: list[tuple[float, float]]) -> list[str]:
    more = 100 * (np.array(side) / np.array(without) - 1)
    return [f"{name} {_percent(more[:, which], '+')}" for which, name in enumerate(("training", "median step"))]


def _told_of_hooks(spent: Array, checks: int) -> list[str]:
    whole, at_steps, elsewhere = spent.T
    median, low, high = interval(1e6 * elsewhere / checks)
    return [
        f"in its hooks {_percent(100 * whole)}",
        f"at steps {_percent(100 * at_steps)}",
        f"at checks {median:.0f} us ({low:.0f} to {high:.0f})",
    ]


def _percent(values: Array, sign: str = "") -> str:
    median, low, high = interval(values)
    return f"{median:{sign}.2f}% ({low:{sign}.2f} to {high:{sign}.2f})"


if __name__ == "__main__":
    main()
