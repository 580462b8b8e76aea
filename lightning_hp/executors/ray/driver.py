"""The search's side of a Ray cluster: it gives jobs to agents there, and takes what they tell."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import replace
from typing import Any

from lightning_hp.errors import LightningHPError, StorageError
from lightning_hp.executors import NextJob, Work
from lightning_hp.executors.messages import Raised
from lightning_hp.executors.ray.agent import Message
from lightning_hp.executors.ray.agents import Agents, RemoteAgent, in_short
from lightning_hp.executors.ray.baggage import ended_by
from lightning_hp.executors.ray.demand import Demand
from lightning_hp.executors.ray.mirror import Change, Copy, Gone, Piece, Same
from lightning_hp.executors.ray.nodes import MOST_FAILURES
from lightning_hp.executors.ray.ways import Parcel, ThroughRay, ThroughStorage, Way
from lightning_hp.executors.ray.wheels import Answered, Listens, Wheels
from lightning_hp.trial import LONGEST_REASON, Emit, Finished, Job, Outcome, Printed, left_by

# Seconds from one look at how many agents there should be to the next.
GROW_INTERVAL = 2.0
# Seconds from one look to the next at agents that may take no job for a moment.
HELD_INTERVAL = 0.5
# Answers of an agent that may be on their way. Then it waits, and with it the training: nothing is lost, no memory is filled.
MOST_UNREAD = 8
# Seconds, for each agent, in which what many tell is gathered, since each look at them takes longer the more there are. Of less
# than fifty it is taken at once.
GATHER = 2e-5
# Times that a job may come back from agents that have not begun it, before that counts as a try.
MOST_RETURNS = 4


class Driver:
    """One run of the executor.

    Ray's own retries are off: a job that is lost comes back to the search, which knows how often that has been, and gives it
    out again, perhaps to another machine. Of a lost one nothing more is heard, even if its machine should come back.

    Args:
        demand: which cluster, and what a job takes of it.
        ray: the module, connected.
        work: what is done with a job.
        emit: takes the events.
    """

    def __init__(self, demand: Demand, ray: Any, work: Work, emit: Emit) -> None:
        self._demand = demand
        self._ray = ray
        self._emit = emit
        self._nodes = demand.nodes
        self._agents = Agents(demand, ray, work, emit)
        self._copy = Copy(work.root)
        self._wheels = Wheels(work.root)
        # Jobs that have been asked for before there was an agent for them, and whether there may be more.
        self._waiting: deque[Job] = deque()
        self._more = False
        # By the numbers of a job's trials, how often it has come back.
        self._returns: Counter[tuple[int, ...]] = Counter()
        storage = demand.cluster.storage
        self._way: Way = ThroughRay(work.root) if storage is None else ThroughStorage(work.root, storage)

    def run(self, first: Job, next_job: NextJob) -> None:
        """Runs jobs until none runs and there is no next.

        Args:
            first: the first of them.
            next_job: gives the others.
        """
        self._agents.prepare()
        self._way.begin()
        self._waiting.append(first)
        # One job needs one agent only; a second that may start with it tells that there are several.
        if self._demand.at_a_time > 1 and (second := next_job()) is not None:
            self._waiting.append(second)
        self._more = len(self._waiting) > 1
        try:
            while self._give_out(next_job):
                self._take_what_comes()
                self._pass_requests()
                self._agents.release(more=self._more or len(self._waiting) > 0)
        finally:
            self._agents.end()
            for agent in self._agents:
                self._wheels.end(agent.numbers, "the search has ended before it came to this")

    def _give_out(self, next_job: NextJob) -> bool:
        """Starts what can start; False where nothing runs and there is no next."""
        # While all others wait for what runs, there is no use for more machines.
        self._agents.grow(self._demand.wanted if self._more else 1)
        for agent in self._agents.free():
            job = self._next(next_job)
            if job is None:
                break
            self._start(agent, job)
        if not self._waiting and not any(each.job for each in self._agents):
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

    def _start(self, agent: RemoteAgent, job: Job) -> None:
        agent.take(job, self._nodes.failures(agent.node))
        try:
            agent.parcel = None if agent.shared else self._parcel(agent)
            run = agent.handle.run.options(num_returns="streaming", _generator_backpressure_num_objects=MOST_UNREAD)
            agent.coming = run.remote(job, agent.parcel)
        except self._ray.exceptions.RayError as error:
            self._lose(agent, error)

    def _parcel(self, agent: RemoteAgent) -> Parcel:
        """Gives an agent what is in its trials' folders, a few pieces at a time."""
        sent: list[Any] = []

        def take(changes: list[Change]) -> None:
            sent.append(agent.handle.take.remote(changes))
            if len(sent) > MOST_UNREAD:
                self._ray.get(sent.pop(0))

        parcel = self._way.parcel(agent.numbers, take)
        self._ray.get(sent)
        return parcel

    def _take_what_comes(self) -> None:
        agents = {each.coming: each for each in self._agents if each.coming is not None}
        coming = list(agents)
        if not coming:
            # All that is left cannot take a job for a moment, or any more.
            time.sleep(HELD_INTERVAL)
            return
        wait = self._ray.wait
        # What is ready is here: one that hangs keeps nobody else waiting.
        ready, _ = wait(coming, num_returns=len(coming), timeout=GATHER * len(coming))
        if not ready:
            ready, _ = wait(coming, num_returns=1, timeout=GROW_INTERVAL)
        for each in ready:
            self._take(agents[each])
        self._agents.tell_of_waiting()

    def _take(self, agent: RemoteAgent) -> None:
        try:
            if not agent.ready:
                self._agents.welcome(agent)
                return
            messages = self._ray.get(next(agent.coming))
        except StopIteration:
            self._end_job(agent)
            return
        except (self._ray.exceptions.RayError, LightningHPError) as error:
            self._lose(agent, error)
            return
        agent.begun = True
        ended = ended_by(messages)
        if agent.parcel is not None and ended:
            self._way.collect(agent.parcel, ended)
        for message in messages:
            if isinstance(message, Raised) and isinstance(message.error, StorageError) and not agent.shared:
                # It is that machine's own disk which takes no more; others may have room.
                self._lose(agent, message.error)
                return
            self._hear(agent, message)

    def _hear(self, agent: RemoteAgent, message: Message) -> None:
        if isinstance(message, (Piece, Same, Gone)):
            self._copy.apply(message)
            return
        if isinstance(message, (Listens, Answered)):
            self._wheels.hear(message)
            return
        if isinstance(message, Raised):
            raise message.error
        if isinstance(message, Finished) and message.outcome.blameless and self._is_put_off(agent, message.outcome):
            return
        agent.unfinished.difference_update(left_by(message))
        self._emit(_with_advice(message) if isinstance(message, Finished) else message)

    def _lose(self, agent: RemoteAgent, error: Exception) -> None:
        """Gives up an agent, and has its trials tried again."""
        self._agents.give_up(agent, error)
        if agent.job is None:
            return
        if agent.parcel is not None:
            self._way.collect(agent.parcel, sorted(agent.unfinished))
        self._end_parcel(agent, f"the worker on {agent.host} was lost before it came to this")
        reason = f"the worker on {agent.host} was lost: {in_short(error)}"[:LONGEST_REASON]
        blameless = not isinstance(error, self._ray.exceptions.OutOfMemoryError)
        outcome = Outcome("failed", reason=reason, retriable=True, blameless=blameless)
        self._note_failure(agent, reason)
        # Those that are left may be busy for long.
        self._more = self._more or len(self._agents) > 0
        if agent.comes_back or (not agent.begun and self._may_come_back(agent)):
            self._waiting.appendleft(agent.job)
            return
        for number in sorted(agent.unfinished):
            self._emit(_with_advice(Finished(number, outcome, time.time())))

    def _end_job(self, agent: RemoteAgent) -> None:
        self._end_parcel(agent, "the trial's job is over")
        if agent.failure is None:
            self._nodes.ran(agent.node)
            del self._returns[agent.numbers]
        else:
            self._note_failure(agent, agent.failure)
        if agent.comes_back and agent.job is not None:
            self._waiting.appendleft(agent.job)
            self._more = True
        agent.rest()

    def _is_put_off(self, agent: RemoteAgent, outcome: Outcome) -> bool:
        """Whether a trial that has failed by what it ran on waits for another agent: its job could not begin on this one."""
        if agent.failure is None:
            agent.failure = outcome.reason or ""
            elsewhere = any(each.node != agent.node for each in self._agents)
            suspect = elsewhere and self._nodes.failures(agent.node) < MOST_FAILURES
            agent.comes_back = not outcome.retriable and suspect and self._may_come_back(agent)
        return agent.comes_back

    def _may_come_back(self, agent: RemoteAgent) -> bool:
        """Whether a job that has not begun is given to another agent, which is no try; not where that has been too often."""
        self._returns[agent.numbers] += 1
        return self._returns[agent.numbers] <= MOST_RETURNS

    def _note_failure(self, agent: RemoteAgent, reason: str) -> None:
        """Counts a job that was lost or could not begin, and tells it where the machine gets no more."""
        others = [each.node for each in self._agents if each.ready and each is not agent]
        if self._agents.can_avoid and self._nodes.failed(agent.node, agent.earlier, others):
            told = f"the last {MOST_FAILURES} jobs on {agent.host} were lost or could not begin there, and others work"
            self._emit(Printed((), f"{told}: it gets no more: {reason}"))

    def _end_parcel(self, agent: RemoteAgent, reason: str) -> None:
        self._wheels.end(agent.numbers, reason)
        if agent.parcel is not None:
            self._way.end(agent.parcel)
            agent.parcel = None

    def _pass_requests(self) -> None:
        for agent in self._agents:
            for asked in self._wheels.asked(agent.numbers):
                agent.handle.ask.options(concurrency_group="requests").remote(asked)


def _with_advice(finished: Finished) -> Finished:
    """With what to do where the machine has none of the user's modules."""
    reason = finished.outcome.reason
    if reason is None or "No module named" not in reason:
        return finished
    advice = "; runtime_env={'working_dir': '.'} of the executor brings what is in this folder to the machines"
    return replace(finished, outcome=replace(finished.outcome, reason=f"{reason[: LONGEST_REASON - len(advice)]}{advice}"))
