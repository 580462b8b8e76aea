"""The agents that a search has on a Ray cluster: how they start, how many there are, and how they end."""

from __future__ import annotations

import math
import os
import re
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning_hp
from lightning_hp.errors import ConfigError, LightningHPError, storage_errors
from lightning_hp.executors import Work
from lightning_hp.executors.ray.agent import TOKEN, Agent, Settings
from lightning_hp.executors.ray.demand import Demand
from lightning_hp.executors.ray.labels import NODE, can_select
from lightning_hp.executors.ray.session import end_leftovers, room
from lightning_hp.executors.ray.ways import Parcel
from lightning_hp.trial import Emit, Job, Printed

# Seconds after which a machine that has had nothing to do is given back to the cluster.
IDLE = 60.0
# Seconds that agents may take to end in order.
END_PATIENCE = 20.0
# Seconds after which a person is told that nothing runs, since the cluster has no room.
PATIENCE = 20.0
# Agents that may be lost one after another before they are ready: what stops one will stop the next.
START_TRIES = 4
# Seconds until another is tried after these, where others work: a machine may have been mended, or may have left.
START_PAUSE = 60.0
# Seconds until an agent on which a job could not begin gets the next one: others may only be starting.
HOLD = 5.0
# What makes Ray's messages colourful in a terminal.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(eq=False)
class RemoteAgent:
    """An agent on the cluster, as it stands."""

    handle: Any
    # What it will tell next: that it is ready, or a part of what its job tells. None while it has no job.
    coming: Any
    host: str = ""
    # The machine, as Ray knows it.
    node: str = ""
    shared: bool = False
    ready: bool = False
    # When it was started or has had something to do last, by the monotonic clock.
    since: float = 0.0
    job: Job | None = None
    # Whether it has told that the job begins.
    begun: bool = False
    # Why the job was lost or could not begin, and how many before it in a row had been on this machine.
    failure: str | None = None
    earlier: int = 0
    # Whether it waits for another agent then.
    comes_back: bool = False
    # By the monotonic clock; until then it gets no other.
    held_until: float = -math.inf
    # What goes with the job where the study's folder is not seen.
    parcel: Parcel | None = None
    unfinished: set[int] = field(default_factory=set)

    @property
    def is_idle(self) -> bool:
        return self.ready and self.job is None

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(trial.number for trial in self.job.trials) if self.job is not None else ()

    def take(self, job: Job, earlier: int) -> None:
        """Has a job from now on, as many in a row before it as this having failed on its machine."""
        self.job, self.unfinished, self.begun = job, {trial.number for trial in job.trials}, False
        self.failure, self.earlier, self.comes_back = None, earlier, False

    def rest(self) -> None:
        """Has no job from now on, and nothing to tell."""
        self.job, self.coming, self.since = None, None, time.monotonic()
        if self.comes_back:
            self.held_until = self.since + HOLD


class Agents:
    """The agents of one run, those that only start among them.

    Args:
        demand: which cluster, and what a job takes of it.
        ray: the module, connected.
        work: what is done with a job.
        emit: takes what a person is to be told.
    """

    def __init__(self, demand: Demand, ray: Any, work: Work, emit: Emit) -> None:
        self._demand = demand
        self._ray = ray
        self._work = work
        self._emit = emit
        self._needs = demand.needs()
        # By its content a machine knows whether it sees the study's folder; a copy of that has what an earlier run has left.
        self._token = f"{_place(work.root)}{uuid.uuid4().hex}"
        self._agents: list[RemoteAgent] = []
        self._failed_starts = 0
        # By the monotonic clock; until then no agent starts where others work.
        self._start_again = -math.inf
        # Since when no agent has been ready.
        self._waiting_since = time.monotonic()
        self._told = False

    def __iter__(self) -> Iterator[RemoteAgent]:
        return iter(self._agents)

    def __len__(self) -> int:
        return len(self._agents)

    @property
    def can_avoid(self) -> bool:
        """Whether Ray can be told to start no more on some machine."""
        return can_select(self._ray.__version__) and NODE not in self._demand.cluster.label_selector

    def prepare(self) -> None:
        """Ends what an earlier run of this search has left, and sends to the cluster what each agent needs.

        Raises:
            ConfigError: it cannot be sent.
        """
        from ray import cloudpickle

        try:
            payload: bytes = cloudpickle.dumps(self._work)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ConfigError(
                f"the model, the data or the Trainer's arguments cannot be sent to other machines: {error}. executor='inline' "
                "trains in this process"
            ) from error
        self._follow_earlier()
        self._payload = self._ray.put(payload)
        demand = self._demand
        self._settings = Settings(
            root=str(self._work.root),
            token=self._token,
            shared=demand.cluster.shared,
            processes=demand.devices,
            threads=max(1, int(self._needs["CPU"]) // demand.devices),
            uses_gpus=self._needs["GPU"] > 0,
            limits=demand.limits,
            verbose=demand.verbose,
        )
        self._actor = self._ray.remote(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs["GPU"],
            memory=self._needs.get("memory"),
            resources=dict(demand.cluster.resources),
            scheduling_strategy=demand.cluster.scheduling_strategy,
            max_restarts=0,
            max_task_retries=0,
            # A person's request comes while a job runs; all else comes in order.
            concurrency_groups={"requests": 1},
        )(Agent)

    def grow(self, count: int) -> None:
        """Starts agents until there are so many, unless they could not be started a short time ago."""
        if self._agents and time.monotonic() < self._start_again:
            return
        while len(self._agents) < count:
            options: dict[str, Any] = {"name": f"{_named(self._token)}{uuid.uuid4().hex}"}
            if selector := self._demand.selector():
                options["label_selector"] = selector
            handle = self._actor.options(**options).remote(self._payload, self._settings)
            self._agents.append(RemoteAgent(handle, coming=handle.where.remote(), since=time.monotonic()))

    def free(self) -> list[RemoteAgent]:
        """Those that may take a job."""
        left, now = self._demand.nodes.left_alone, time.monotonic()
        return [each for each in self._agents if each.is_idle and each.held_until <= now and each.node not in left]

    def welcome(self, agent: RemoteAgent) -> None:
        """Takes in that an agent has started.

        Raises:
            RayError: it has not.
            LightningHPError: it can run nothing.
        """
        agent.host, agent.node, agent.shared, version = self._ray.get(agent.coming)
        _check_version(agent.host, version)
        agent.ready = True
        agent.rest()
        self._failed_starts = 0

    def give_up(self, agent: RemoteAgent, error: Exception) -> None:
        """Ends an agent that has raised this.

        Raises:
            LightningHPError: it has not started, and none is left that works or may come to work.
        """
        self._agents.remove(agent)
        self._end([agent])
        if agent.ready:
            return
        self._failed_starts += 1
        final = isinstance(error, (LightningHPError, self._ray.exceptions.RuntimeEnvSetupError))
        if not final and self._failed_starts < START_TRIES:
            return
        told = in_short(error)
        if not self._agents:
            needed = "each machine needs the Python and the packages of this one, lightning-hp among them"
            raise LightningHPError(f"no agent could be started on the cluster; {needed}: {told}") from error
        # The others go on alone for a while.
        if self._start_again == -math.inf:
            self._emit(Printed((), f"an agent could not be started, and is tried again from time to time: {told}"))
        self._start_again = time.monotonic() + START_PAUSE

    def release(self, more: bool) -> None:
        """Ends agents that have had nothing to do for a while, or get no more jobs.

        Args:
            more: whether jobs wait, so that those are of use that have had no room yet.
        """
        over = [each for each in self._agents if self._is_over(each, more)]
        self._agents = [each for each in self._agents if each not in over]
        self._end(over)

    def _is_over(self, agent: RemoteAgent, more: bool) -> bool:
        if agent.is_idle and agent.node in self._demand.nodes.left_alone:
            return True
        has_no_use = agent.is_idle or not (agent.ready or more)
        return has_no_use and time.monotonic() - agent.since >= IDLE

    def end(self) -> None:
        """Ends all, whatever they do."""
        self._end(self._agents)

    def tell_of_waiting(self) -> None:
        """Tells a person, once, that for some time no agent has been ready, and why."""
        now = time.monotonic()
        if any(agent.ready for agent in self._agents):
            self._waiting_since = now
            return
        if self._told or now - self._waiting_since < PATIENCE:
            return
        self._told = True
        labels = [f"the label {name}: {condition}" for name, condition in self._demand.cluster.label_selector.items()]
        needs = ", ".join([*(f"{amount:g} {name}" for name, amount in self._needs.items() if amount), *labels])
        if room(self._ray, self._needs, self._demand.selector()) > 0:
            told = f"waiting for a machine of the cluster to be free and ready for a job, which takes {needs}"
        else:
            told = f"no machine of the cluster has what a job takes: {needs}; waiting for one to join"
        self._emit(Printed((), told))

    def _follow_earlier(self) -> None:
        """Ends what an earlier run of this search has left, and leaves a note by which what this one leaves is known."""
        path = self._work.root / TOKEN
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            left = path.read_text() if path.exists() else ""
            # What a copied folder names belongs to the search that it was copied from, which may be at work.
            if left.startswith(_place(self._work.root)):
                end_leftovers(self._ray, _named(left))
            path.write_text(self._token)

    def _end(self, agents: Sequence[RemoteAgent]) -> None:
        """Ends agents: those that have nothing to do in order, so that they leave nothing on their machines."""
        if ending := [each.handle.end.remote() for each in agents if each.is_idle]:
            self._ray.wait(ending, num_returns=len(ending), timeout=END_PATIENCE)
        for agent in agents:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(agent.handle)


def in_short(error: Exception) -> str:
    """Ray's reason in one line, without the table of what the actor was and all that may have been the cause."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        # What an agent has raised comes behind where it was raised, which may be long.
        error = cause if isinstance(cause, LightningHPError) else Exception(f"{type(cause).__name__}: {cause}")
    table = ("class_name:", "actor_id:", "pid:", "name:", "namespace:", "ip:")
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines()]
    told = " ".join(line for line in lines if line.strip("^ ") and not line.startswith(table))
    return told.partition(" Some common causes")[0]


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
