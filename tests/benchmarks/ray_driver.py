"""What one search takes from a Ray cluster: events, files, and how that goes with many workers.

    pip install 'lightning-hp[ray]'
    python tests/benchmarks/ray_driver.py [--agents 1 2 4 8] [--workers 8 64 256 1000] [--rounds 3]

Nothing is trained, and what is done with an event is to count it: measured is the part that Ray and the driver have in it. All
runs on this machine, so that where agents tell as much as they can, they take the processor from the driver. Its own cost is
therefore told as well: microseconds of the processor for each event, in its thread and in its process with Ray's threads.

1. Agents as they are, each with a fork server and a worker, in which a trial tells epochs as fast as it can. A message is all
   that an agent has to tell when it is asked.
2. The same with trials that write checkpoints of 64 MiB, where only the search sees the study's folder.
3. Many workers, which are threads of a few actors, have no processes and tell each epoch by itself: first as fast as they can,
   then one a second each, in trials of ten, with the share of a core that this takes of the driver, and how long an epoch is
   on its way.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clusters import cluster, connected
from common import told, versions

from lightning_hp import RayCluster, __version__
from lightning_hp.executors import Work
from lightning_hp.executors.limits import Limits
from lightning_hp.executors.ray.agents import Agents, RemoteAgent
from lightning_hp.executors.ray.demand import Demand
from lightning_hp.executors.ray.driver import Driver
from lightning_hp.executors.ray.mirror import Piece
from lightning_hp.trial import Emit, EpochEnded, Event, Finished, Job, Outcome, Trial, trial_folder

METRICS = {"train_loss": 0.123456, "val_loss": 0.234567, "val_acc": 0.912345}
# So little of a node that any number of agents has room.
SOME = 0.001
# Actors whose threads stand for many workers.
ACTORS = 4
CHECKPOINT = 64 * 2**20


@dataclass(frozen=True)
class Telling:
    """A trial that tells epochs as fast as it can, once all agents have one."""

    root: Path
    epochs: int
    go: Path

    def under(self, root: Path) -> Work:
        return replace(self, root=root)

    def __call__(self, job: Job, emit: Emit) -> None:
        _wait(self.go)
        for epoch in range(self.epochs):
            emit(EpochEnded(job.trials[0].number, epoch, METRICS))
        emit(_finished(job))


@dataclass(frozen=True)
class Writing:
    """A trial that writes checkpoints, once all agents have one."""

    root: Path
    checkpoints: int
    go: Path

    def under(self, root: Path) -> Work:
        return replace(self, root=root)

    def __call__(self, job: Job, emit: Emit) -> None:
        _wait(self.go)
        folder = trial_folder(self.root, job.trials[0].number) / "checkpoints"
        folder.mkdir(parents=True)
        for number in range(self.checkpoints):
            (folder / f"{number}.ckpt").write_bytes(bytes(CHECKPOINT))
        emit(_finished(job))


class Crowd:
    """An actor whose threads stand for agents: each tells a trial's epochs, one each ``pause`` seconds."""

    def __init__(self, epochs: int, pause: float) -> None:
        self._epochs, self._pause = epochs, pause

    def where(self) -> tuple[str, str, bool, str]:
        return "here", "", True, __version__

    def run(self, job: Job, *_: Any) -> Iterator[list[Event]]:
        number = job.trials[0].number
        # Not all at the same moment.
        due = time.monotonic() + self._pause * (number * 0.618 % 1)
        for epoch in range(self._epochs):
            time.sleep(max(0.0, due - time.monotonic()))
            due += self._pause
            yield [EpochEnded(number, epoch, {**METRICS, "told": time.time()})]
        yield [_finished(job)]

    def end(self) -> None:
        """There is nothing to be left."""


@dataclass(frozen=True)
class Moment:
    """How far a run is at one time, or how far it went between two. Its sizes are bytes, its times seconds."""

    seconds: float
    process: float
    thread: float
    messages: float
    events: float
    size: float


class Counts:
    """What has come, from when there is one event in three of all until there are two."""

    def __init__(self, expected: int = 0) -> None:
        self.messages = self.events = self.size = 0
        self.lags: list[float] = []
        self._bounds = {expected // 3, 2 * expected // 3} if expected else set()
        self._moments: list[Moment] = []

    def emit(self, event: Event) -> None:
        self.events += 1
        if len(self._moments) == 1 and isinstance(event, EpochEnded) and "told" in event.metrics:
            self.lags.append(time.time() - event.metrics["told"])
        if self.events in self._bounds:
            self.note()

    def note(self) -> None:
        """Counts from this moment, or, where it is not the first, until this one."""
        clocks = time.perf_counter(), time.process_time(), time.thread_time()
        self._moments.append(Moment(*clocks, self.messages, self.events, self.size))

    def between(self) -> Moment:
        first, last = self._moments[0], self._moments[-1]
        return Moment(*(getattr(last, name) - getattr(first, name) for name in vars(first)))


class Counted(Driver):
    """The driver; the messages and the bytes that it takes are counted."""

    def __init__(self, demand: Demand, ray: Any, work: Work, counts: Counts) -> None:
        super().__init__(demand, ray, work, counts.emit)
        self._counts = counts

    def _take(self, agent: RemoteAgent) -> None:
        self._counts.messages += agent.job is not None
        super()._take(agent)

    def _hear(self, agent: RemoteAgent, message: Any) -> None:
        is_piece = isinstance(message, Piece)
        if is_piece and not self._counts.size:
            self._counts.note()
        super()._hear(agent, message)
        if is_piece:
            self._counts.size += len(message.data)
            self._counts.note()


class Crowded(Counted):
    """The driver of workers that share a few actors."""

    def __init__(self, demand: Demand, ray: Any, work: Work, counts: Counts, actors: Sequence[Any]) -> None:
        super().__init__(demand, ray, work, counts)
        self._agents = Crowds(actors, demand, ray, work, counts.emit)


class Crowds(Agents):
    """Agents that are all the same few actors."""

    def __init__(self, actors: Sequence[Any], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._actors = actors

    def prepare(self) -> None:
        super().prepare()
        self._actor = _InTurn(self._actors)


class _InTurn:
    """Stands for the agents' class: what is started is one of the actors that are there."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = actors
        self._count = 0

    def options(self, **_: Any) -> _InTurn:
        return self

    def remote(self, *_: Any) -> Any:
        self._count += 1
        return self._actors[self._count % len(self._actors)]


def _wait(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def _finished(job: Job) -> Finished:
    return Finished(job.trials[0].number, Outcome("complete", value=0.0), time.time())


def drive(driver: Driver, trials: int, go: Path) -> None:
    """Runs so many trials, each a job. They may begin when the last has been given out."""
    jobs = iter([Job((Trial(number, {}, 0),)) for number in range(trials)])
    left = trials

    def next_job() -> Job | None:
        nonlocal left
        left -= 1
        if left == 0:
            go.touch()
        return next(jobs, None)

    first = next_job()
    assert first is not None
    driver.run(first, next_job)


def demand(workers: int, shared: bool) -> Demand:
    return Demand(RayCluster(num_cpus=SOME, shared=shared), accelerator="cpu", limits=Limits(workers=workers))


def events(agents: int, epochs: int) -> Moment:
    """What there was while agents told so many epochs each."""
    counts = Counts(agents * epochs)
    with tempfile.TemporaryDirectory() as folder, connected() as ray:
        work = Telling(Path(folder), epochs, Path(folder, "go"))
        drive(Counted(demand(agents, shared=True), ray, work, counts), agents, work.go)
    return counts.between()


def files(agents: int, checkpoints: int) -> Moment:
    """What there was from the first piece of a file to the last, while agents sent so many checkpoints each."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as here, connected() as ray:
        work = Writing(Path(folder), checkpoints, Path(here, "go"))
        drive(Counted(demand(agents, shared=False), ray, work, counts), agents, work.go)
    return counts.between()


def crowd(workers: int, trials: int, epochs: int, pause: float) -> tuple[Moment, list[float]]:
    """What there was while many workers told epochs, and how long each epoch was on its way."""
    counts = Counts(trials * epochs)
    with tempfile.TemporaryDirectory() as folder, connected() as ray:
        kind = ray.remote(num_cpus=SOME, max_concurrency=workers // ACTORS + 2)(Crowd)
        actors = [kind.remote(epochs, pause) for _ in range(ACTORS)]
        work = Telling(Path(folder), epochs, Path(folder, "go"))
        drive(Crowded(demand(workers, shared=True), ray, work, counts, actors), trials, work.go)
    return counts.between(), counts.lags


def each(found: Sequence[Moment], of: Callable[[Moment], float], unit: str = "", digits: int = 0) -> str:
    return told([of(moment) for moment in found], unit, digits)


def print_events(title: str, found: Sequence[Moment]) -> None:
    print(
        f"{title}: {each(found, lambda m: m.events / m.seconds)} events a second, "
        f"{each(found, lambda m: m.messages / m.seconds)} messages; for an event the driver's thread takes "
        f"{each(found, lambda m: 1e6 * m.thread / m.events, ' us')}, its process "
        f"{each(found, lambda m: 1e6 * m.process / m.events, ' us')}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--workers", type=int, nargs="*", default=[8, 64, 256, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10_000, help="that each agent tells")
    parser.add_argument("--checkpoints", type=int, default=4, help="that each agent sends")
    options = parser.parse_args()
    rounds = range(options.rounds)
    with cluster(1):
        for agents in options.agents:
            print_events(f"{agents} agents", [events(agents, options.epochs) for _ in rounds])
        for agents in options.agents:
            sent = [files(agents, options.checkpoints) for _ in rounds]
            rate = each(sent, lambda m: m.size / m.seconds / 1e6)
            cost = each(sent, lambda m: 1e3 * m.process / (m.size / 1e6), " ms", 2)
            print(f"{agents} agents that send files: {rate} MB/s, for a MB the driver's process takes {cost}", flush=True)
        for workers in options.workers:
            fast = [crowd(workers, workers, max(20, 8000 // workers), 0.0)[0] for _ in rounds]
            print_events(f"{workers} workers, epochs as fast as they can", fast)
        for workers in options.workers:
            paced = [crowd(workers, 2 * workers, 10, 1.0) for _ in rounds]
            found = [moment for moment, _ in paced]
            lags = sorted(1e3 * lag for _, some in paced for lag in some)
            print(
                f"{workers} workers, an epoch a second each: {each(found, lambda m: m.events / m.seconds)} events a second, "
                f"{each(found, lambda m: 100 * m.process / m.seconds, '%')} of a core, in its thread "
                f"{each(found, lambda m: 100 * m.thread / m.seconds, '%')}; an epoch is on its way for "
                f"{statistics.median(lags):.0f} ms, of a hundred 99 for less than {lags[len(lags) * 99 // 100]:.0f} ms",
                flush=True,
            )
    print(versions("ray"))


if __name__ == "__main__":
    main()
