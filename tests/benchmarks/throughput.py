"""Trials a second: the same fits through SearchLoop, inline and in processes, through Optuna and through Ray Tune.

    pip install optuna 'ray[tune]'
    python tests/benchmarks/throughput.py [--trials 40] [--rounds 5] [--sizes 0.2 1.0] [--sides inline processes ...]

A small network learns scikit-learn's digits, with so many epochs that one fit takes about the seconds that `--sizes` says, on
one thread. All sides try the same hyperparameters, log the same curves, lr and momentum included, and write the best and the
last checkpoint. The sides take turns, and each has a Python of its own. A peer that is not installed is left out.

Two rates are printed. `whole` is what one waits for: from starting Python, with its imports, to its end. `steady` leaves out
the start: from when each worker has finished its first trial to when the last trial is finished.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from common import (
    CORES,
    SPACE,
    Mlp,
    child,
    drawn,
    fit,
    in_turn,
    loaders,
    optuna_study,
    random_search,
    silence,
    told,
    versions,
)
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_hp.study.store import Store

CLOCK = "clock.json"


class Clock(Callback):
    """Writes into the trial's folder when its first training step began and when its fit ended."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0:
            self.first_step = time.time()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        (Path(trainer.default_root_dir) / CLOCK).write_text(json.dumps([self.first_step, time.time()]))


def timed_fit(number: int, hparams: dict[str, float], epochs: int, root: Path) -> float:
    return fit(Mlp, loaders, hparams, root / "trials" / f"{number:06d}", epochs, number, [Clock()])


def search_loop(executor: str, trials: int, epochs: int, root: Path) -> None:
    trainer = {"max_epochs": epochs, "accelerator": "cpu", "callbacks": [Clock]}
    workers = CORES if executor == "processes" else None
    # How a fused search compares is told by fused.py.
    random_search(Mlp, loaders, trials, root, trainer=trainer, executor=executor, fuse="never", workers=workers)


def optuna(jobs: int, trials: int, epochs: int, root: Path) -> None:
    optuna_study(SPACE, trials, root, lambda number, hparams: timed_fit(number, hparams, epochs, root), jobs)


def ray_tune(trials: int, epochs: int, root: Path) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # The curves are logged by the Trainer, as everywhere here.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # Ray's choice for a trial of one CPU as well.
    os.environ["OMP_NUM_THREADS"] = "1"
    import ray
    from ray import tune

    hparams = drawn(SPACE, trials)

    def trainable(config: dict[str, Any]) -> dict[str, float]:
        torch.set_num_threads(1)
        silence()
        return {"val_loss": timed_fit(config["number"], hparams[config["number"]], epochs, root)}

    ray.init(
        num_cpus=CORES,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        _temp_dir=str(root / "ray"),
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"number": tune.grid_search(list(range(trials)))},
        run_config=tune.RunConfig(storage_path=str(root / "results"), verbose=0),
    ).fit()
    ray.shutdown()


# Each with how many trials it runs at a time.
SIDES: dict[str, tuple[int, Callable[[int, int, Path], None]]] = {
    "inline": (1, partial(search_loop, "inline")),
    "processes": (CORES, partial(search_loop, "processes")),
    "optuna-1": (1, partial(optuna, 1)),
    "optuna-2": (2, partial(optuna, 2)),
    "ray": (CORES, ray_tune),
}
OPTUNA = ("optuna-1", "optuna-2")


def calibrate(root: Path) -> None:
    """Prints the seconds of the processor for a fit besides its epochs, and for an epoch: no other load is in them."""

    def seconds(epochs: int) -> float:
        took = []
        for number, hparams in enumerate(drawn(SPACE, 7)):
            began = time.process_time()
            timed_fit(number, hparams, epochs, root / str(epochs))
            took.append(time.process_time() - began)
        return statistics.median(took)

    seconds(1)
    short, long = seconds(2), seconds(12)
    print(json.dumps([max(0.0, short - (long - short) / 5), (long - short) / 10]))


def measure(side: str, trials: int, epochs: int) -> dict[str, list[float]]:
    """Trials a second, whole and steady; for processes the seconds from asking for a trial to its first step, too."""
    at_a_time, _ = SIDES[side]
    # A short name: Ray puts sockets there, whose paths may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="hp") as folder:
        began = time.perf_counter()
        child(__file__, "--run", side, "--trials", trials, "--epochs", epochs, "--root", folder)
        whole = trials / (time.perf_counter() - began)
        clocks = {int(path.parent.name): json.loads(path.read_text()) for path in Path(folder).glob(f"trials/*/{CLOCK}")}
        if len(clocks) != trials:
            raise SystemExit(f"{side}: {len(clocks)} of {trials} trials have finished")
        ended = sorted(end for _, end in clocks.values())
        steady = (trials - at_a_time) / (ended[-1] - ended[at_a_time - 1])
        found = {"whole": [whole], "steady": [steady]}
        if side == "processes":
            waits = [clocks[number][0] - started for number, started in asked_at(Path(folder)).items()]
            # The server is up before the first is asked for: its start is in the whole time, not in these.
            found |= {"first": waits[:1], "later": waits[at_a_time:]}
        return found


def asked_at(root: Path) -> dict[int, float]:
    """When the search asked for each trial, by number."""
    store = Store(root)
    try:
        return dict(store._read("SELECT number, started FROM trials ORDER BY number"))
    finally:
        store.close()


def compare(seconds: float, epochs: int, sides: Sequence[str], trials: int, rounds: int) -> None:
    """Measures and prints one size of fit."""
    print(
        f"\nfits of {seconds:g} s ({epochs} epochs), {trials} trials; trials a second, median of {rounds} rounds (min to max)"
    )
    found: list[dict[str, dict[str, list[float]]]] = []
    for number, each in enumerate(in_turn(sides, rounds, lambda side: measure(side, trials, epochs))):
        found.append(each)
        rates = (f"{side} {each[side]['whole'][0]:.2f}/{each[side]['steady'][0]:.2f}" for side in sides)
        print(f"  round {number}, whole/steady: {', '.join(rates)}", flush=True)
    for side in sides:
        whole, steady = ([each[side][what][0] for each in found] for what in ("whole", "steady"))
        print(f"  {side:<10} whole {told(whole)}, steady {told(steady)}")
    if "processes" in sides:
        for peer, of in {"the better Optuna": OPTUNA, "Ray Tune": ("ray",), "inline": ("inline",)}.items():
            if all(side in sides for side in of):
                for what in ("whole", "steady"):
                    ratios = [each["processes"][what][0] / max(each[side][what][0] for side in of) for each in found]
                    print(f"  processes to {peer}, {what}: {told(ratios, 'x')}")
        for which in ("first", "later"):
            waits = [1e3 * wait for each in found for wait in each["processes"][which]]
            print(f"  from asking to the first training step, {which} trials of a run: {told(waits, ' ms')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.2, 1.0], help="seconds of a fit")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    for hidden in ("--run", "--epochs", "--root"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        torch.set_num_threads(1)
        silence()
        if options.run == "calibrate":
            calibrate(Path(options.root))
        else:
            SIDES[options.run][1](options.trials, int(options.epochs), Path(options.root))
        return
    missing = {name for name in ("optuna", "ray") if not find_spec(name)}
    sides = [side for side in options.sides if side.partition("-")[0] not in missing]
    for name in sorted(missing):
        print(f"{name} is not installed: left out")
    with tempfile.TemporaryDirectory(prefix="hp") as folder:
        fixed, epoch = json.loads(child(__file__, "--run", "calibrate", "--root", folder))
    print(f"{CORES} cores; a fit takes {1e3 * fixed:.0f} ms and {1e3 * epoch:.1f} ms an epoch of 23 steps, on one thread")
    for seconds in options.sizes:
        compare(seconds, max(1, round((seconds - fixed) / epoch)), sides, options.trials, options.rounds)
    print(f"\n{versions('optuna', 'ray')}")


if __name__ == "__main__":
    main()
