"""What a trial costs besides its fit on a Ray cluster: through SearchLoop, on Ray and in processes, and through Ray Tune.

    pip install 'lightning-hp[ray]' 'ray[tune]'
    python tests/benchmarks/ray_overhead.py [--trials 40] [--rounds 5] [--epochs 2] [--workers 2] [--sides ray tune ...]

A small network learns scikit-learn's digits for some epochs, the same hyperparameters on all sides, with as many trials at a
time as there are workers, of one thread each. All log the same curves, lr and momentum included, write the best and the last
checkpoint, and report each epoch. The floor is a bare loop over ``Trainer.fit`` in each of so many Pythons. The sides take
turns on one cluster of this machine, and each has a Python of its own.

Printed is how many milliseconds of a worker a trial costs more than in the bare loops of the same round, from when each worker
has finished its first trial to when the last trial is finished; and, apart, the start: the seconds from starting Python to
the first trial's first step.

- ``ray``: ``executor="ray"``, and the trials write into the study's folder. ``ray-apart``: what they write comes through Ray.
- ``processes``: ``executor="processes"``, without Ray.
- ``tune``: a function trainable, in actors that are used again for the next trial, with ``tune.report`` at each epoch's end.
  With ``tune-new`` each trial has a new actor, as is Tune's default.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from clusters import cluster, connected
from common import SPACE, Mlp, child, drawn, fit, loaders, random_search, silence, told, versions
from lightning.pytorch import Callback, LightningModule, Trainer
from throughput import CLOCK, Clock

from lightning_hp import RayCluster


def search_loop(executor: Any, options: argparse.Namespace) -> None:
    trainer = {"max_epochs": options.epochs, "accelerator": "cpu", "callbacks": [Clock]}
    how = {"trainer": trainer, "executor": executor, "fuse": "never", "workers": options.workers}
    random_search(Mlp, loaders, options.trials, options.root, **how)


class Report(Callback):
    """Tells Ray Tune how an epoch came out."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        from ray import tune

        if not trainer.sanity_checking:
            tune.report({name: float(value) for name, value in trainer.callback_metrics.items()})


def ray_tune(reuse_actors: bool, options: argparse.Namespace) -> None:
    # The curves are logged by the Trainer, as everywhere here.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    from ray import tune

    hparams = drawn(SPACE, options.trials)

    def trainable(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        silence()
        number = config["number"]
        folder = options.root / "trials" / f"{number:06d}"
        fit(Mlp, loaders, hparams[number], folder, options.epochs, number, [Clock(), Report()], "cpu")

    with connected():
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"number": tune.grid_search(list(range(options.trials)))},
            tune_config=tune.TuneConfig(reuse_actors=reuse_actors, max_concurrent_trials=options.workers),
            run_config=tune.RunConfig(storage_path=str(options.root / "results"), verbose=0),
        ).fit()


def bare(options: argparse.Namespace) -> None:
    """One of the bare loops: every so manyth trial."""
    for number, hparams in list(enumerate(drawn(SPACE, options.trials)))[options.share :: options.workers]:
        fit(Mlp, loaders, hparams, options.root / "trials" / f"{number:06d}", options.epochs, number, [Clock()], "cpu")


SIDES: dict[str, Callable[[argparse.Namespace], None]] = {
    "bare": bare,
    "ray": partial(search_loop, RayCluster(shared=True)),
    "ray-apart": partial(search_loop, RayCluster(shared=False)),
    "processes": partial(search_loop, "processes"),
    "tune": partial(ray_tune, True),
    "tune-new": partial(ray_tune, False),
}


def measure(side: str, options: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds of a worker for each trial, and the seconds that the start takes."""
    with tempfile.TemporaryDirectory(prefix="hp") as folder:
        asked = {"--trials": options.trials, "--epochs": options.epochs, "--workers": options.workers, "--root": folder}
        arguments = [word for pair in asked.items() for word in pair]
        shares = range(options.workers if side == "bare" else 1)
        with ThreadPoolExecutor(len(shares)) as pool:
            began = time.time()
            list(pool.map(lambda share: child(__file__, "--run", side, "--share", share, *arguments), shares))
        clocks = [json.loads(path.read_text()) for path in Path(folder).glob(f"trials/*/{CLOCK}")]
        if len(clocks) != options.trials:
            raise SystemExit(f"{side}: {len(clocks)} of {options.trials} trials have finished")
        ended = sorted(end for _, end in clocks)
    took = (ended[-1] - ended[options.workers - 1]) / (options.trials - options.workers)
    return 1e3 * took * options.workers, min(first for first, _ in clocks) - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES)[1:], default=list(SIDES)[1:])
    for hidden, kind in (("--run", str), ("--root", Path), ("--share", int)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        torch.set_num_threads(1)
        silence()
        SIDES[options.run](options)
        return
    sides = ["bare", *(side for side in options.sides if "tune" not in side or find_spec("pyarrow"))]
    found: list[dict[str, tuple[float, float]]] = []
    with cluster(options.workers):
        for number in range(options.rounds):
            # Every other round backwards, so that none always runs after the same one.
            order = sides if number % 2 == 0 else sides[::-1]
            found.append({})
            for side in order:
                found[-1][side] = measure(side, options)
                took, start = found[-1][side]
                print(f"round {number}, {side}: {took:.0f} ms a trial, start {start:.1f} s", flush=True)
    print(f"a fit in the bare loops: {told([took['bare'][0] for took in found], ' ms', 0)}")
    for side in sides[1:]:
        more = told([took[side][0] - took["bare"][0] for took in found], " ms", 0)
        print(f"{side} costs {more} a trial more; its start takes {told([took[side][1] for took in found], ' s', 1)}")
    for side in sides[1:]:
        if "tune" in sides and side != "tune":
            print(f"tune to {side}: {told([took['tune'][0] / took[side][0] for took in found], 'x')} the time of a trial")
    print(versions("ray"))


if __name__ == "__main__":
    main()
