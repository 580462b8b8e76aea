"""The search's side of a Ray cluster: it keeps agents there, gives them jobs, and takes what they tell."""

from __future__ import annotations

import math
import os
import re
import time
import uuid
import zlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning_hp
from lightning_hp.errors import ConfigError, LightningHPError, StorageError, storage_errors
from lightning_hp.executors import NextJob, Work
from lightning_hp.executors.messages import Raised
from lightning_hp.executors.ray.agent import TOKEN, Agent, Message, Settings
from lightning_hp.executors.ray.baggage import ended_by
from lightning_hp.executors.ray.mirror import Change, Copy, Gone, Piece, Same
from lightning_hp.executors.ray.session import end_leftovers, room
from lightning_hp.executors.ray.ways import Parcel, ThroughRay, ThroughStorage, Way
from lightning_hp.executors.ray.wheels import Answered, Listens, Wheels
from lightning_hp.trial import LONGEST_REASON, Emit, Finished, Job, Outcome, Paused, Printed, Unfused

if TYPE_CHECKING:
    from lightning_hp.executors.ray.executor import OnRay

# Seconds from one look at how many agents there should be to the next.
GROW_INTERVAL = 2.0
# Seconds after which a machine that has had nothing to do is given back to the cluster.
IDLE = 60.0
# Seconds that agents may take to end in order.
END_PATIENCE = 20.0
# Seconds after which a person is told that nothing runs, since the cluster has no room.
PATIENCE = 20.0
# Answers of an agent that may be on their way. Then it waits, and with it the training: nothing is lost, no memory is filled.
MOST_UNREAD = 8
# Seconds, for each agent, in which what many tell is gathered, since each look at them takes longer the more there are. Of less
# than fifty it is taken at once.
GATHER = 2e-5
# What makes Ray's messages colourful in a terminal.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Agents that may be lost one after another before they are ready: what stops one will stop the next.
START_TRIES = 4
# Seconds until another is tried after these, where others work: a machine may have been mended, or may have left.
START_PAUSE = 60.0


@dataclass
class _Worker:
    """An agent on the cluster, as it stands."""

    handle: Any
    # What it will tell next: that it is ready, or a part of what its job tells. None while it has no job.
    coming: Any
    host: str = ""
    shared: bool = False
    ready: bool = False
    since: float = field(default_factory=time.monotonic)
    job: Job | None = None
    # What goes with the job where the study's folder is not seen.
    parcel: Parcel | None = None
    unfinished: set[int] = field(default_factory=set)

    @property
    def is_idle(self) -> bool:
        return self.ready and self.job is None

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(trial.number for trial in self.job.trials) if self.job is not None else ()


class Driver:
    """One run of the executor.

    Ray's own retries are off: a job that is lost comes back to the search, which knows how often that has been, and gives it
    out again, perhaps to another machine. Of a lost one nothing more is heard, even if its machine should come back.

    Args:
        executor: its settings.
        ray: the module, connected.
        work: what is done with a job.
        emit: takes the events.
    """

    def __init__(self, executor: OnRay, ray: Any, work: Work, emit: Emit) -> None:
        self._executor = executor
        self._ray = ray
        self._work = work
        self._emit = emit
        self._copy = Copy(work.root)
        self._wheels = Wheels(work.root)
        self._workers: list[_Worker] = []
        # Jobs that have been asked for before there was an agent for them, and whether there may be more.
        self._waiting: deque[Job] = deque()
        self._more = False
        self._needs = executor.needs()
        # By its content a machine knows whether it sees the study's folder; a copy of that has what an earlier run has left.
        self._token = f"{_place(work.root)}{uuid.uuid4().hex}"
        storage = executor.cluster.storage
        self._way: Way = ThroughRay(work.root) if storage is None else ThroughStorage(work.root, storage)
        self._failed_starts = 0
        # By the monotonic clock; until then no agent starts where others work.
        self._start_again = -math.inf
        # Since when no agent has been ready.
        self._waiting_since = time.monotonic()
        self._told = False

    def run(self, first: Job, next_job: NextJob) -> None:
        """Runs jobs until none runs and there is no next.

        Args:
            first: the first of them.
            next_job: gives the others.
        """
        self._prepare()
        self._waiting.append(first)
        # One job needs one agent only; a second that may start with it tells that there are several.
        if self._executor.at_a_time > 1 and (second := next_job()) is not None:
            self._waiting.append(second)
        self._more = len(self._waiting) > 1
        try:
            while self._give_out(next_job):
                self._take_what_comes()
                self._pass_requests()
                self._release_idle()
        finally:
            self._end(self._workers)
            for worker in self._workers:
                self._wheels.end(worker.numbers, "the search has ended before it came to this")

    def _give_out(self, next_job: NextJob) -> bool:
        """Starts what can start; False where nothing runs and there is no next."""
        # While all others wait for what runs, there is no use for more machines.
        self._grow(self._executor.at_a_time if self._more else 1)
        for worker in [each for each in self._workers if each.is_idle]:
            job = self._next(next_job)
            if job is None:
                break
            self._start(worker, job)
        if not self._waiting and not any(each.job for each in self._workers):
            # All that worked may have been lost.
            job = self._next(next_job)
            if job is None:
                return False
            self._waiting.append(job)
        return True

    def _next(self, next_job: NextJob) -> Job | None:
        if self._waiting:
            return self._waiting.popleft()
        job = next_job()
        self._more = job is not None
        return job

    def _prepare(self) -> None:
        from ray import cloudpickle

        try:
            payload: bytes = cloudpickle.dumps(self._work)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ConfigError(
                f"the model, the data or the Trainer's arguments cannot be sent to other machines: {error}. executor='inline' "
                "trains in this process"
            ) from error
        self._begin()
        self._way.begin()
        self._payload = self._ray.put(payload)
        executor = self._executor
        self._settings = Settings(
            root=str(self._work.root),
            token=self._token,
            shared=executor.cluster.shared,
            processes=executor.devices,
            threads=max(1, int(self._needs["CPU"]) // executor.devices),
            uses_gpus=self._needs["GPU"] > 0,
            trial_timeout=executor.trial_timeout,
            memory_limit=executor.memory_limit,
            verbose=executor.verbose,
        )
        self._agent = self._ray.remote(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs["GPU"],
            memory=self._needs.get("memory"),
            resources=dict(executor.cluster.resources),
            scheduling_strategy=executor.cluster.scheduling_strategy,
            max_restarts=0,
            max_task_retries=0,
            # A person's request comes while a job runs; all else comes in order.
            concurrency_groups={"requests": 1},
        )(Agent)

    def _begin(self) -> None:
        """Ends what an earlier run of this search has left, and leaves a note by which what this one leaves is known."""
        path = self._work.root / TOKEN
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            left = path.read_text() if path.exists() else ""
            # What a copied folder names belongs to the search that it was copied from, which may be at work.
            if left.startswith(_place(self._work.root)):
                end_leftovers(self._ray, _named(left))
            path.write_text(self._token)

    def _grow(self, count: int) -> None:
        if self._workers and time.monotonic() < self._start_again:
            return
        while len(self._workers) < count:
            name = f"{_named(self._token)}{uuid.uuid4().hex}"
            handle = self._agent.options(name=name).remote(self._payload, self._settings)
            self._workers.append(_Worker(handle, coming=handle.where.remote()))

    def _start(self, worker: _Worker, job: Job) -> None:
        worker.job, worker.unfinished = job, {trial.number for trial in job.trials}
        try:
            worker.parcel = None if worker.shared else self._parcel(worker)
            run = worker.handle.run.options(num_returns="streaming", _generator_backpressure_num_objects=MOST_UNREAD)
            worker.coming = run.remote(job, worker.parcel)
        except self._ray.exceptions.RayError as error:
            self._lose(worker, error)

    def _parcel(self, worker: _Worker) -> Parcel:
        """Gives an agent what is in its trials' folders, a few pieces at a time."""
        sent: list[Any] = []

        def take(changes: list[Change]) -> None:
            sent.append(worker.handle.take.remote(changes))
            if len(sent) > MOST_UNREAD:
                self._ray.get(sent.pop(0))

        parcel = self._way.parcel(worker.numbers, take)
        self._ray.get(sent)
        return parcel

    def _take_what_comes(self) -> None:
        workers = {each.coming: each for each in self._workers if each.coming is not None}
        coming = list(workers)
        wait = self._ray.wait
        # What is ready is here: one that hangs keeps nobody else waiting.
        ready, _ = wait(coming, num_returns=len(coming), timeout=GATHER * len(coming))
        if not ready:
            ready, _ = wait(coming, num_returns=1, timeout=GROW_INTERVAL)
        for each in ready:
            self._take(workers[each])
        if any(worker.ready for worker in self._workers):
            self._waiting_since = time.monotonic()
        else:
            self._tell_of_waiting()

    def _take(self, worker: _Worker) -> None:
        try:
            if worker.ready:
                messages = self._ray.get(next(worker.coming))
            else:
                worker.host, worker.shared, version = self._ray.get(worker.coming)
                _check_version(worker.host, version)
                worker.ready, worker.coming, worker.since = True, None, time.monotonic()
                self._failed_starts = 0
                return
        except StopIteration:
            self._end_parcel(worker, "the trial's job is over")
            worker.job, worker.coming, worker.since = None, None, time.monotonic()
            return
        except (self._ray.exceptions.RayError, LightningHPError) as error:
            self._lose(worker, error)
            return
        ended = ended_by(messages)
        if worker.parcel is not None and ended:
            self._way.collect(worker.parcel, ended)
        for message in messages:
            if isinstance(message, Raised) and isinstance(message.error, StorageError) and not worker.shared:
                # It is that machine's own disk which takes no more; others may have room.
                self._lose(worker, message.error)
                return
            self._hear(worker, message)

    def _hear(self, worker: _Worker, message: Message) -> None:
        if isinstance(message, (Piece, Same, Gone)):
            self._copy.apply(message)
            return
        if isinstance(message, (Listens, Answered)):
            self._wheels.hear(message)
            return
        if isinstance(message, Raised):
            raise message.error
        if isinstance(message, (Finished, Paused)):
            worker.unfinished.discard(message.number)
        elif isinstance(message, Unfused):
            worker.unfinished.difference_update(message.numbers)
        self._emit(_with_advice(message) if isinstance(message, Finished) else message)

    def _lose(self, worker: _Worker, error: Exception) -> None:
        """Gives up an agent, and has its trials tried again."""
        self._workers.remove(worker)
        self._end([worker])
        told = _in_short(error)
        if not worker.ready:
            self._failed_starts += 1
            final = isinstance(error, (LightningHPError, self._ray.exceptions.RuntimeEnvSetupError))
            if final or self._failed_starts >= START_TRIES:
                self._give_up_starting(told, error)
            return
        if worker.parcel is not None:
            self._way.collect(worker.parcel, sorted(worker.unfinished))
        self._end_parcel(worker, f"the worker on {worker.host} was lost before it came to this")
        reason = f"the worker on {worker.host} was lost: {told}"[:LONGEST_REASON]
        blameless = not isinstance(error, self._ray.exceptions.OutOfMemoryError)
        outcome = Outcome("failed", reason=reason, retriable=True, blameless=blameless)
        # Those that are left may be busy for long.
        self._more = self._more or bool(self._workers)
        for number in sorted(worker.unfinished):
            self._emit(_with_advice(Finished(number, outcome, time.time())))

    def _give_up_starting(self, told: str, error: Exception) -> None:
        """Ends the search where no agent is left that works or may come to work; otherwise those go on alone for a while."""
        if not self._workers:
            needed = "each machine needs the Python and the packages of this one, lightning-hp among them"
            raise LightningHPError(f"no agent could be started on the cluster; {needed}: {told}") from error
        if self._start_again == -math.inf:
            self._emit(Printed((), f"an agent could not be started, and is tried again from time to time: {told}"))
        self._start_again = time.monotonic() + START_PAUSE

    def _end_parcel(self, worker: _Worker, reason: str) -> None:
        self._wheels.end(worker.numbers, reason)
        if worker.parcel is not None:
            self._way.end(worker.parcel)
            worker.parcel = None

    def _pass_requests(self) -> None:
        for worker in self._workers:
            for asked in self._wheels.asked(worker.numbers):
                worker.handle.ask.options(concurrency_group="requests").remote(asked)

    def _release_idle(self) -> None:
        now = time.monotonic()
        idle = [each for each in self._workers if each.is_idle and now - each.since >= IDLE]
        self._workers = [each for each in self._workers if each not in idle]
        self._end(idle)

    def _end(self, workers: list[_Worker]) -> None:
        """Ends agents: those that have nothing to do in order, so that they leave nothing on their machines."""
        if ending := [each.handle.end.remote() for each in workers if each.is_idle]:
            self._ray.wait(ending, num_returns=len(ending), timeout=END_PATIENCE)
        for worker in workers:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(worker.handle)

    def _tell_of_waiting(self) -> None:
        if self._told or time.monotonic() - self._waiting_since < PATIENCE:
            return
        self._told = True
        needs = ", ".join(f"{amount:g} {name}" for name, amount in self._needs.items() if amount)
        if room(self._ray, self._needs) > 0:
            told = f"waiting for a machine of the cluster to be free and ready for a job, which takes {needs}"
        else:
            told = f"no machine of the cluster has what a job takes: {needs}; waiting for one to join"
        self._emit(Printed((), told))


def _place(root: Path) -> str:
    """What a study's folder is known by, as it is called here."""
    return f"{zlib.crc32(os.fsencode(root)):08x}-"


def _named(token: str) -> str:
    """How the names of a run's agents begin."""
    return f"lightning-hp {token} "


def _check_version(host: str, version: str) -> None:
    """What passes between two versions may mean something else to each."""
    if version != lightning_hp.__version__:
        raise LightningHPError(
            f"{host} has lightning-hp {version}, and the search runs with {lightning_hp.__version__}: install the same version "
            "on all machines of the cluster"
        )


def _with_advice(finished: Finished) -> Finished:
    """With what to do where the machine has none of the user's modules."""
    reason = finished.outcome.reason
    if reason is None or "No module named" not in reason:
        return finished
    advice = "; runtime_env={'working_dir': '.'} of the executor brings what is in this folder to the machines"
    return replace(finished, outcome=replace(finished.outcome, reason=f"{reason[: LONGEST_REASON - len(advice)]}{advice}"))


def _in_short(error: Exception) -> str:
    """Ray's reason in one line, without the table of what the actor was and all that may have been the cause."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        # What an agent has raised comes behind where it was raised, which may be long.
        error = cause if isinstance(cause, LightningHPError) else Exception(f"{type(cause).__name__}: {cause}")
    table = ("class_name:", "actor_id:", "pid:", "name:", "namespace:", "ip:")
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines()]
    told = " ".join(line for line in lines if line.strip("^ ") and not line.startswith(table))
    return told.partition(" Some common causes")[0]
