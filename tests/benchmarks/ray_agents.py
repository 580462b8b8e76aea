"""What an agent of ``executor="ray"`` costs and how it is missed: its start, its memory, the start of a job, its end.

    pip install 'lightning-hp[ray]'
    python tests/benchmarks/ray_agents.py [--jobs 20] [--rounds 3]

Nothing is trained: a job tells an epoch at once. The jobs' code needs Lightning, which the fork server therefore has loaded.
Printed are

1. the seconds from the start, with Ray connected, to the first job's epoch: an agent, its fork server and a worker are up;
2. the milliseconds from when the search gives a job to its first epoch, of all later jobs; the same with
   ``executor="processes"``;
3. the memory of an idle agent's processes: what is theirs alone, and all that they see;
4. after how many seconds the search is told that a trial is lost, and after how many the next one trains: when its worker is
   killed, the agent, or all processes of its machine. One that falls silent is given up when Ray does so, by its settings
   ``health_check_*``.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clusters import STORE, cluster, connected, wait_for
from common import Mlp, told, versions

from lightning_hp import RayCluster
from lightning_hp.executors import Executor, Work
from lightning_hp.executors.limits import Limits
from lightning_hp.executors.place import Place
from lightning_hp.executors.processes import Processes
from lightning_hp.executors.ray.demand import Demand
from lightning_hp.executors.ray.executor import OnRay
from lightning_hp.trial import Emit, EpochEnded, Event, Finished, Job, Outcome, Trial


@dataclass(frozen=True)
class Telling:
    """Tells its process and the fork server's as an epoch, and ends; a trial below ``hanging`` hangs instead of ending."""

    root: Path
    hanging: int = 0
    # So that its module is loaded, as for a search.
    model: Any = Mlp

    def under(self, root: Path) -> Work:
        return replace(self, root=root)

    def __call__(self, job: Job, emit: Emit) -> None:
        number = job.trials[0].number
        emit(EpochEnded(number, 0, {"worker": os.getpid(), "server": os.getppid()}))
        if number < self.hanging:
            time.sleep(3600)
        emit(Finished(number, Outcome("complete", value=0.0), time.time()))


class Course:
    """The course of some trials, one after another: when each was given, told its epoch and was over."""

    def __init__(self, trials: int, heard: Callable[[int, dict[str, int]], None] = lambda number, processes: None) -> None:
        self.given: list[float] = []
        self.told: list[float] = []
        self.over: list[float] = []
        self._trials = trials
        self._heard = heard

    def run(self, executor: Executor, work: Work) -> None:
        executor.run(self._next_job, work, self._take)

    def _next_job(self) -> Job | None:
        number = len(self.given)
        if number == self._trials or len(self.over) < number:
            return None
        self.given.append(time.perf_counter())
        return Job((Trial(number, {}, 0),))

    def _take(self, event: Event) -> None:
        if isinstance(event, EpochEnded):
            self.told.append(time.perf_counter())
            self._heard(event.number, {name: int(pid) for name, pid in event.metrics.items()})
        elif isinstance(event, Finished):
            self.over.append(time.perf_counter())


def on_ray() -> OnRay:
    return OnRay(Demand(RayCluster(shared=True), accelerator="cpu", limits=Limits(workers=1)))


def starts(executor: Executor, jobs: int) -> tuple[float, list[float]]:
    """Seconds from the start to the first job's epoch, and from when each later job was given to its epoch."""
    course = Course(jobs)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        course.run(executor, Telling(Path(folder)))
    later = [told - given for given, told in zip(course.given[1:], course.told[1:], strict=True)]
    return course.told[0] - began, later


def memory() -> dict[str, tuple[float, float]]:
    """MiB of an idle agent's processes that are theirs alone, and that they see."""
    found: dict[str, tuple[float, float]] = {}

    def look(number: int, processes: dict[str, int]) -> None:
        # Until it has ended, the worker shares nearly all with the server that it was forked from.
        os.kill(processes["worker"], signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{processes['worker']}").exists())
        agent = parent(processes["server"])
        for name, process in {"fork server": processes["server"], "agent": agent}.items():
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
            kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
            found[name] = (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024, kib["Rss"] / 1024

    with tempfile.TemporaryDirectory() as folder:
        Course(1, look).run(on_ray(), Telling(Path(folder), hanging=1))
    return found


def loss(end: Callable[[dict[str, int]], None]) -> tuple[float, float]:
    """Seconds from when a trial lost something to when the search was told, and to when the next one told an epoch."""
    at = 0.0

    def heard(number: int, processes: dict[str, int]) -> None:
        nonlocal at
        if number == 0:
            end({**processes, "agent": parent(processes["server"])})
            at = time.perf_counter()

    course = Course(2, heard)
    with tempfile.TemporaryDirectory() as folder:
        course.run(on_ray(), Telling(Path(folder), hanging=1))
    return course.over[0] - at, course.told[1] - at


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def family(process: int) -> list[int]:
    """A process and all that it has started, in turn."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(path.name)] = parent(int(path.name))
    found = [process]
    for each in found:
        found += [child for child, its in parents.items() if its == each]
    return found


def kill_machine(processes: dict[str, int]) -> None:
    """Kills all that Ray runs on the agent's machine."""
    for each in family(parent(processes["agent"])):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def print_losses(started: Any, rounds: int) -> None:
    ways: dict[str, Callable[[dict[str, int]], object]] = {
        "a killed worker": lambda processes: os.kill(processes["worker"], signal.SIGKILL),
        "a killed agent": lambda processes: os.kill(processes["agent"], signal.SIGKILL),
        "a killed machine": kill_machine,
    }
    for name, end in ways.items():
        found = []
        for _ in range(rounds):
            found.append(loss(end))
            if end is kill_machine:
                started.add_node(num_cpus=1, object_store_memory=STORE)
        noticed, again = ([each[index] for each in found] for index in (0, 1))
        print(f"{name} is noticed after {told(noticed, ' s')}, and the next trial trains after {told(again, ' s')}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds = range(options.rounds)
    sides: dict[str, Callable[[], Executor]] = {"ray": on_ray, "processes": lambda: Processes([Place((), 1)])}
    with cluster(1, 1) as started, connected():
        for name, executor in sides.items():
            found = [starts(executor(), options.jobs) for _ in rounds]
            later = [1e3 * each for _, some in found for each in some]
            first = told([each for each, _ in found], " s", 1)
            print(f"{name}: the first job's epoch after {first}, a later one's after {told(later, ' ms', 0)}", flush=True)
        for name, (own, seen) in memory().items():
            print(f"{name}: {own:.0f} MiB of its own, {seen:.0f} MiB with what it shares", flush=True)
        print_losses(started, options.rounds)
    print(versions("ray"))


if __name__ == "__main__":
    main()
