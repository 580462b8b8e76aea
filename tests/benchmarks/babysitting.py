"""What a babysitter is worth: a fit started from a wrong lr, left alone, under torch's schedules and babysat, side by side.

    python tests/benchmarks/babysitting.py [--seeds 10] [--first-seed 0] [--tasks ...] [--methods ...] [--starts ...]
        [--momenta 1] [--processes 2] [--json FILE] [--picture FILE] [--logs FOLDER] [--tune]

The tasks are those of babysat_tasks.py. Right is the lr and momentum of the best of a search's 64 trials at a constant lr
(`--tune` makes that search anew); the starts are so many times the right lr. All methods have the same seeds, batch order and
number of epochs, which a babysitter's probing is part of, and take turns in one run:

    fixed       the lr of the start, to the end
    plateau     torch's ReduceLROnPlateau, with a patience of a tenth of the epochs
    cosine      from the lr of the start to 0
    onecycle    torch's OneCycleLR with the lr of the start as its highest
    reduce      Babysitter(policy="reduce")
    probe       Babysitter(policy="probe")
    reduce-momentum    as reduce, and probe-momentum as probe, with momentum_factor=0.5, which moves momentum too

Printed are medians over the seeds, with 95% intervals by bootstrap: the validation loss of the best epoch, and that of the
last (a fit that ends worse than before training, or at NaN, counts as one that was not trained); and of the best epoch,
`worse`, how far it is from the tuned run's of the same seed in parts of what that gained by training, and `recovered`, which
part of the distance between the unattended and the tuned run the method made good. The bars: from the right lr, and from 3
times too high or low, worse by at most 2%; beyond, at least 90% recovered. A question mark: the bar lies in the interval.

What moving momentum is worth: `--starts 1 --momenta 0.1 1 2 --methods fixed reduce reduce-momentum` starts with the
right lr and a momentum so many times as far from 1 as the right one. What babysitting costs: babysat_cost.py.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from babysat_fits import METHODS, Job, Record, fit, one_thread, start_of
from babysat_tasks import EPOCHS, MONITOR, RIGHT, TASKS
from common import silence, versions
from numpy.typing import NDArray
from regret import interval

from lightning_hp import Log, ReverseLog, SearchLoop

Array: TypeAlias = NDArray[np.float64]
Records: TypeAlias = dict[Job, Record]
STARTS = (1 / 30, 1 / 3, 1.0, 3.0, 30.0)
COMPARED = ("fixed", "plateau", "cosine", "onecycle", "reduce", "probe")
NEAR, WITHIN, RECOVERED = 3.0, 0.02, 0.9


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """All fits, the methods in turns, with the unattended fits that the others are measured by."""
    jobs: dict[Job, None] = {}
    for seed in seeds_of(options):
        for task in options.tasks:
            jobs[Job(task, "fixed", 1.0, 1.0, seed)] = None
            for momentum in options.momenta:
                for lr in options.starts:
                    for method in dict.fromkeys(["fixed", *options.methods]):
                        jobs[Job(task, method, lr, momentum, seed)] = None
    return list(jobs)


def seeds_of(options: argparse.Namespace) -> range:
    """The seeds of all fits.

    >>> list(seeds_of(argparse.Namespace(first_seed=10, seeds=3)))
    [10, 11, 12]
    """
    return range(options.first_seed, options.first_seed + options.seeds)


def run(jobs: Sequence[Job], options: argparse.Namespace) -> Iterator[tuple[Job, Record]]:
    with ProcessPoolExecutor(options.processes, initializer=_start) as pool:
        yield from zip(jobs, pool.map(partial(fit, logs=options.logs, epochs=options.epochs), jobs), strict=True)


def _start() -> None:
    silence()
    one_thread()


def worse(method: Sequence[Record], tuned: Sequence[Record]) -> Array:
    """How much worse the best epoch is than the tuned run's, in parts of what that gained by training.

    >>> ended = [Record(2.5, [value], [], [], 0, 0.0) for value in (0.5, 0.6)]
    >>> worse(ended[1:], ended[:1]).round(3).tolist()
    [0.05]
    """
    return np.array([(one.best - best.best) / (best.chance - best.best) for one, best in zip(method, tuned, strict=True)])


def recovered(method: Sequence[Record], fixed: Sequence[Record], tuned: Sequence[Record]) -> Array | None:
    """The part of the distance from unattended to tuned that is made good; None if there is none to speak of.

    >>> left, babysat, best = ([Record(2.5, [value], [], [], 0, 0.0)] for value in (1.5, 0.6, 0.5))
    >>> recovered(babysat, left, best).round(3).tolist()
    [0.9]
    """
    if np.median(worse(fixed, tuned)) <= WITHIN:
        return None
    gaps = [alone.best - best.best for alone, best in zip(fixed, tuned, strict=True)]
    made_good = [alone.best - one.best for alone, one in zip(fixed, method, strict=True)]
    # By the usual gap: one seed that happens to have next to none would count for more than all others.
    return np.array(made_good) / np.where(np.array(gaps) > np.median(gaps) / 4, gaps, np.median(gaps))


def verdict(job: Job, off: Array, share: Array | None) -> str:
    """Whether a method reaches the bar from this start; with a question mark if the bar lies in the interval.

    >>> verdict(Job("digits", "reduce", 3.0, 1.0, 0), np.array([0.01, 0.015]), None)
    'yes'
    """
    near = 1 / NEAR - 1e-9 <= job.lr <= NEAR + 1e-9
    median, low, high = interval(off if near or share is None else 1 - share)
    bar = WITHIN if near or share is None else 1 - RECOVERED
    return ("yes" if median <= bar else "no") + ("?" if low <= bar < high else "")


def table(records: Records, options: argparse.Namespace) -> Iterator[str]:
    for task in options.tasks:
        tuned = _of(records, Job(task, "fixed", 1.0, 1.0, 0), seeds_of(options))
        start = start_of(Job(task, "fixed", 1.0, 1.0, 0))
        chance = np.median([record.chance for record in tuned])
        right = f"right is lr {start['lr']:.3g}, momentum {start['momentum']:.3g}"
        yield f"\n{task}: {right}; {MONITOR} before training {chance:.3g}"
        for momentum in options.momenta:
            for lr in options.starts:
                begun = start_of(Job(task, "fixed", lr, momentum, 0))
                yield f"  from lr {begun['lr']:.3g} ({_times(lr)}), momentum {begun['momentum']:.3g}"
                for method in options.methods:
                    yield _row(records, Job(task, method, lr, momentum, 0), tuned, seeds_of(options))


def _row(records: Records, job: Job, tuned: list[Record], seeds: Sequence[int]) -> str:
    of = _of(records, job, seeds)
    off = worse(of, tuned)
    share = recovered(of, _of(records, Job(job.task, "fixed", job.lr, job.momentum, 0), seeds), tuned)
    told = "no gap" if share is None else _percent(share)
    moves = "" if METHODS[job.method].babysitter is None else f"  {np.median([each.interventions for each in of]):.0f} moves"
    best, last = _told(np.array([each.best for each in of])), np.median([each.last for each in of])
    return (
        f"    {job.method:10} best {best:27} last {last:<9.4g} worse {_percent(off):22} recovered {told:25}"
        f" {verdict(job, off, share):5}{moves}"
    )


def _of(records: Records, job: Job, seeds: Sequence[int]) -> list[Record]:
    """What became of a job under each seed; the job's own does not matter."""
    return [records[Job(job.task, job.method, job.lr, job.momentum, seed)] for seed in seeds]


def _told(values: Array) -> str:
    median, low, high = interval(values)
    return f"{median:.4g} ({low:.4g} to {high:.4g})"


def _percent(values: Array) -> str:
    median, low, high = (100 * each for each in interval(values))
    return f"{median:.1f}% ({low:.1f} to {high:.1f})"


def _times(factor: float) -> str:
    return f"{factor:.3g} times right" if factor >= 1 else f"1/{1 / factor:.3g} of right"


def draw(path: Path, records: Records, options: argparse.Namespace) -> None:
    """The best epoch over the start, a panel a task and a line a method."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, panels = plt.subplots(
        1, len(options.tasks), figsize=(4.2 * len(options.tasks), 3.8), constrained_layout=True, squeeze=False
    )
    for axis, task in zip(panels[0], options.tasks, strict=True):
        for number, method in enumerate(options.methods):
            jobs = [Job(task, method, lr, options.momenta[0], 0) for lr in options.starts]
            drawn = [interval(np.array([each.best for each in _of(records, job, seeds_of(options))])) for job in jobs]
            median, low, high = np.array(drawn).T
            style = "-" if METHODS[method].babysitter or method == "fixed" else "--"
            color = "black" if method == "fixed" else f"C{number}"
            axis.plot(options.starts, median, style, marker="o", markersize=3, color=color, label=method)
            axis.fill_between(options.starts, low, high, color=color, alpha=0.15, linewidth=0)
        axis.set(xscale="log", yscale="log", title=task, xlabel="lr at the start, times the right one")
        axis.set_xticks(options.starts, [f"{lr:.2g}" if lr >= 1 else f"1/{1 / lr:.2g}" for lr in options.starts])
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
    panels[0][0].set_ylabel(f"{MONITOR} of the best epoch")
    panels[0][-1].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def tune(name: str, trials: int, processes: int) -> dict[str, float]:
    """The best of so many trials at a constant lr, with the value that it reached."""
    with tempfile.TemporaryDirectory() as root:
        loop = SearchLoop(
            TASKS[name].model,
            space={"lr": Log(1e-3, 10.0), "momentum": ReverseLog(0.0, 0.99)},
            data=TASKS[name].loaders,
            monitor=MONITOR,
            trials=trials,
            trainer={"max_epochs": EPOCHS, "enable_checkpointing": False, "logger": False, "accelerator": "cpu"},
            executor="processes",
            workers=processes,
            # Fused, convolutions on a CPU are no faster.
            fuse="never",
            root_dir=root,
            progress=False,
        )
        best = loop.run().best
    return {**best.hparams, "value": best.value, "trials": trials, "epochs": EPOCHS}


def keep(records: Records, path: Path) -> None:
    lines = [json.dumps([astuple(job), asdict(record)]) for job, record in records.items()]
    path.write_text("\n".join(lines) + "\n")


def kept(path: Path | None) -> Records:
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {Job(*job): Record(**record) for job, record in lines}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0, help="of the seeds, which follow one another")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(COMPARED), choices=list(METHODS))
    parser.add_argument("--starts", nargs="+", type=_factor, default=list(STARTS), help="times the right lr, such as 1/30")
    parser.add_argument("--momenta", nargs="+", type=_factor, default=[1.0], help="times as far from 1 as the right momentum")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="keep all fits here; those that it holds already are not made again")
    parser.add_argument("--picture", type=Path, help="draw the best epochs over the starts")
    parser.add_argument("--logs", type=Path, help="keep the babysitters' logs in this folder")
    parser.add_argument(
        "--tune", type=int, nargs="?", const=64, metavar="TRIALS", help="search lr and momentum of the tasks anew"
    )
    return parser.parse_args()


def _factor(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def main() -> None:
    options = parsed()
    if options.tune:
        for name in options.tasks:
            found = json.loads(RIGHT.read_text()) if RIGHT.exists() else {}
            found[name] = tune(name, options.tune, options.processes)
            RIGHT.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{name}: {found[name]}", flush=True)
        return
    records, began, jobs = kept(options.json), time.perf_counter(), jobs_of(options)
    for job, record in run([job for job in jobs if job not in records], options):
        records[job] = record
        if options.json and job.method == options.methods[-1]:
            keep(records, options.json)
    print("\n".join(table(records, options)))
    print(f"{len(jobs)} fits, {time.perf_counter() - began:.0f} s; {versions()}")
    if options.json:
        keep(records, options.json)
    if options.picture:
        draw(options.picture, records, options)


if __name__ == "__main__":
    main()
