"""The search's side without a cluster: agents that do as they are told, so that each moment at which one breaks can be had."""

from __future__ import annotations

import shutil
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

import lightning_hp
from lightning_hp import RayCluster
from lightning_hp.errors import LightningHPError
from lightning_hp.executors.limits import Limits
from lightning_hp.executors.ray.agent import TOKEN
from lightning_hp.executors.ray.agents import HOLD, IDLE, START_PAUSE, START_TRIES
from lightning_hp.executors.ray.demand import Demand
from lightning_hp.executors.ray.driver import MOST_RETURNS, Driver
from lightning_hp.executors.ray.nodes import MOST_FAILURES
from lightning_hp.trial import Finished, Grouped, Job, Outcome, Printed, Trial

ray = pytest.importorskip("ray", reason="pip install 'lightning-hp[ray]'")
Lost = ray.exceptions.RaySystemError
READY = ("alpha", "1", True, lightning_hp.__version__)
# Looks of the driver, each of a second of its clock, in which something would have happened.
MANY = 1000


@dataclass(eq=False)
class Ref:
    """What an agent has told, or what it has raised, or will."""

    value: object
    comes: object = lambda: True

    @property
    def is_ready(self):
        return self.comes()


class Telling:
    """What comes of a job: batches of messages; None where there is nothing at the moment."""

    def __init__(self, batches):
        self._batches = iter(batches)
        self._coming = deque()

    @property
    def is_ready(self):
        if not self._coming:
            try:
                batch = next(self._batches)
            except (StopIteration, ray.exceptions.RayError) as end:
                batch = end
            if batch is not None:
                self._coming.append(batch)
        return bool(self._coming)

    def __next__(self):
        assert self.is_ready
        batch = self._coming.popleft()
        if isinstance(batch, StopIteration):
            raise batch
        return Ref(batch)


class Remote:
    """A method of an actor."""

    def __init__(self, call):
        self.remote = call

    def options(self, **options):
        return self


class Handle:
    def __init__(self, agent, name):
        self.name = name
        self.where = Remote(lambda: Ref(agent.where, agent.comes))
        self.run = Remote(lambda job, parcel: Telling(agent.run(job)))
        self.end = Remote(lambda: Ref(None))


@dataclass
class Agent:
    """What one agent does.

    Attributes:
        run: gives what it tells of a job.
        where: what it tells when it is ready, or why it never is.
        comes: whether it has told that by now.
    """

    run: object = None
    where: object = READY
    comes: object = lambda: True


@dataclass
class Ray:
    """As much of Ray as the driver needs.

    Attributes:
        agents: start one after another, and the last of them again and again.
        now: seconds that have passed.
        named: the names of those that are there.
    """

    agents: list
    started: int = 0
    now: float = 0.0
    named: set = field(default_factory=set)
    exceptions: object = ray.exceptions
    put: object = staticmethod(lambda value: value)
    __version__: str = ray.__version__

    def remote(self, **options):
        def options(name, label_selector=None):
            return SimpleNamespace(remote=lambda payload, settings: self.start(name, label_selector or {}))

        return lambda cls: SimpleNamespace(options=options)

    def start(self, name, selector):
        self.named.add(name)
        agent = self.agents[min(self.started, len(self.agents) - 1)]
        self.started += 1
        # Ray would have placed it elsewhere.
        assert not selector or agent.where[1] not in selector["ray.io/node-id"]
        return Handle(agent, name)

    def wait(self, coming, num_returns, timeout):
        self.now += 1
        assert self.now < MANY, "nothing happens any more"
        ready = [each for each in coming if each.is_ready][:num_returns]
        return ready, [each for each in coming if each not in ready]

    def sleep(self, seconds):
        self.now += seconds
        assert self.now < MANY, "nothing happens any more"

    def get(self, ref):
        if isinstance(ref.value, Exception):
            raise ref.value
        return ref.value

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1.0}}] * 2

    def kill(self, handle):
        self.named.discard(handle.name)

    @property
    def util(self):
        found = [{"name": name, "namespace": ""} for name in self.named]
        return SimpleNamespace(list_named_actors=lambda all_namespaces: found)

    def get_actor(self, name, namespace):
        return SimpleNamespace(name=name)


@dataclass
class Search:
    """One that tries lost trials again.

    Attributes:
        count: how many trials it has.
        states: of those that have ended.
    """

    count: int
    states: dict = field(default_factory=dict)
    lost: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def __post_init__(self):
        self.waiting = deque(range(self.count))

    def next_job(self):
        return Job((Trial(self.waiting.popleft(), {}, 0),)) if self.waiting else None

    def take(self, event):
        if isinstance(event, Printed):
            self.notes.append(event.line)
        elif event.outcome.retriable:
            self.lost.append(event)
            self.waiting.append(event.number)
        else:
            assert event.number not in self.states
            self.states[event.number] = event.outcome.state

    def run(self, agents, tmp_path, workers, left=(), most=None):
        self.cluster = cluster = Ray(agents, named=set(left))
        demand = Demand(RayCluster(num_gpus=0), limits=Limits(workers=workers), most=most)
        demand._session = SimpleNamespace(connect=lambda: cluster)
        with pytest.MonkeyPatch.context() as patch:
            clock = SimpleNamespace(monotonic=lambda: cluster.now, sleep=cluster.sleep, time=time.time)
            patch.setattr("lightning_hp.executors.ray.agents.time", clock)
            patch.setattr("lightning_hp.executors.ray.driver.time", clock)
            Driver(demand, cluster, SimpleWork(tmp_path), self.take).run(self.next_job(), self.next_job)
        return cluster


@dataclass(frozen=True)
class SimpleWork:
    root: Path


def well(job):
    yield [Finished(job.trials[0].number, Outcome("complete"), time.time())]


def lost(job):
    yield []
    raise Lost("the machine is gone")


class AtOnce(Search):
    """Has all that wait in one job, and takes what is given back."""

    def next_job(self):
        numbers = [self.waiting.popleft() for _ in range(len(self.waiting))]
        return Job(tuple(Trial(number, {}, 0) for number in numbers)) if numbers else None

    def take(self, event):
        if isinstance(event, Grouped):
            self.waiting.extend(event.given_back)
        else:
            super().take(event)


def patient(happened, then=well):
    """An agent that waits with its job until something has happened."""

    def run(job):
        while not happened():
            yield None
        yield from then(job)

    return Agent(run)


def after(looks, then=well):
    left = iter(range(looks))
    return patient(lambda: next(left, None) is None, then)


def test_of_a_machine_that_is_lost_those_are_not_tried_again_that_it_has_given_back(tmp_path):
    def grouping(job):
        yield [Grouped({0: "one", 1: "another", 2: "one"}, (1,))]
        raise Lost("the machine is gone")

    def all_well(job):
        yield [Finished(trial.number, Outcome("complete"), time.time()) for trial in job.trials]

    search = AtOnce(3)
    search.run([Agent(grouping), Agent(all_well)], tmp_path, workers=1)
    assert [event.number for event in search.lost] == [0, 2]
    assert search.states == dict.fromkeys(range(3), "complete")


def test_a_lost_trial_does_not_wait_for_one_that_trains_for_long(tmp_path):
    search = Search(3)
    # By then the first one has left.
    late = after(2 * int(IDLE), lost)
    search.run([Agent(well), patient(lambda: search.states.keys() >= {0, 2}), late, Agent(well)], tmp_path, workers=3)
    assert search.states == dict.fromkeys(range(3), "complete")
    assert [event.number for event in search.lost] == [2]


def never():
    return False


@pytest.mark.parametrize(("most", "started"), [(None, 3), (2, 2)])
def test_while_jobs_wait_one_agent_more_than_there_is_room_for_asks_an_autoscaler_for_a_machine(tmp_path, most, started):
    search = Search(6)
    cluster = search.run([after(9), after(9), Agent(well, comes=never)], tmp_path, workers=None, most=most)
    assert search.states == dict.fromkeys(range(6), "complete")
    assert cluster.started == started
    assert (cluster.named, search.notes) == (set(), [])


def test_when_no_more_jobs_wait_no_machine_is_asked_for_any_longer(tmp_path):
    search = Search(2)
    last = patient(lambda: len(search.cluster.named) == 1)
    search.run([last, Agent(well), Agent(comes=never)], tmp_path, workers=None)
    assert search.states == dict.fromkeys(range(2), "complete")
    assert search.cluster.now >= IDLE


OLD = ("beta", "2", True, "0.0.1")
UNFIT = {
    "that is lost": Lost("no room in /tmp"),
    "whose packages cannot be installed": ray.exceptions.RuntimeEnvSetupError("pip: no such package"),
    "that says that it can run nothing": ray.exceptions.RayTaskError(
        "where", "Traceback", LightningHPError("beta does not see the folder")
    ).as_instanceof_cause(),
    "of another version": OLD,
}


@pytest.mark.parametrize("where", UNFIT.values(), ids=UNFIT)
def test_a_machine_that_can_run_nothing_does_not_end_a_search_that_others_run(tmp_path, where):
    search = Search(2)
    cluster = search.run([after(3 * int(START_PAUSE)), Agent(where=where)], tmp_path, workers=2)
    assert search.states == dict.fromkeys(range(2), "complete")
    assert search.lost == []
    assert len(search.notes) == 1
    assert "an agent could not be started" in search.notes[0]
    # It is not tried at each look.
    assert cluster.started <= 1 + START_TRIES + 4


@pytest.mark.parametrize("where", UNFIT.values(), ids=UNFIT)
def test_where_no_machine_can_run_anything_the_search_ends_and_says_why(tmp_path, where):
    with pytest.raises(LightningHPError, match="no agent could be started on the cluster") as raised:
        Search(3).run([Agent(where=where)], tmp_path, workers=2)
    told = {"that says that it can run nothing": "beta does not see the folder", "of another version": "beta has lightning-hp"}
    name = next(name for name, each in UNFIT.items() if each is where)
    assert told.get(name, "") in str(raised.value)


def dead(job):
    raise Lost("it was gone before it had the job")
    yield


def test_a_job_that_an_agent_has_not_begun_is_given_to_another_and_that_is_no_try(tmp_path):
    search = Search(3)
    search.run([Agent(dead), Agent(dead), Agent(well)], tmp_path, workers=2)
    assert search.states == dict.fromkeys(range(3), "complete")
    assert search.lost == []


def test_a_job_with_which_each_agent_dies_at_once_does_not_wait_for_ever(tmp_path):
    search = Search(1)
    search.run([*[Agent(dead)] * (MOST_RETURNS + 1), Agent(well)], tmp_path, workers=1)
    assert search.states == {0: "complete"}
    assert len(search.lost) == 1


def broken(job):
    yield []
    yield [Finished(each.number, Outcome("failed", reason="no libgomp", blameless=True), time.time()) for each in job.trials]


BETA = ("beta", "2", True, lightning_hp.__version__)


@pytest.mark.parametrize(("fault", "tries"), [(broken, 0), (lost, MOST_FAILURES)])
def test_a_machine_that_fails_its_jobs_one_after_the_other_gets_no_more_while_others_work(tmp_path, fault, tries):
    search = Search(8)
    given = []

    def failing(job):
        given.append(job)
        yield from fault(job)

    bad = Agent(failing, BETA)
    # What is lost takes its agent with it.
    again = [bad] * (MOST_FAILURES - 1 if fault is lost else 0)
    search.run([patient(lambda: len(given) == MOST_FAILURES), bad, *again, Agent(well)], tmp_path, workers=2)
    assert search.states == dict.fromkeys(range(8), "complete")
    assert len(given) == MOST_FAILURES
    assert len(search.lost) == tries
    (note,) = search.notes
    assert note.startswith("the last 3 jobs on beta were lost or could not begin there, and others work: it gets no more: ")


def test_jobs_that_are_lost_at_the_same_time_are_no_reason_to_leave_their_machine_alone(tmp_path):
    search = Search(8)
    sudden = [Agent(after(3, lost).run, BETA) for _ in range(4)]
    search.run([after(20), *sudden, Agent(well, BETA)], tmp_path, workers=5)
    assert search.states == dict.fromkeys(range(8), "complete")
    assert (len(search.lost), search.notes) == (4, [])


def test_where_nothing_can_begin_anywhere_that_is_the_end_of_each_trial(tmp_path):
    search = Search(9)
    search.run([Agent(broken), Agent(broken, BETA)], tmp_path, workers=2)
    assert search.states == dict.fromkeys(range(9), "failed")
    assert search.lost == []


def test_a_machine_that_is_ready_first_and_can_begin_nothing_waits_for_the_others(tmp_path):
    search = Search(4)
    looks = iter(range(int(HOLD)))
    late = Agent(well)
    late.comes = lambda: next(looks, None) is None
    search.run([Agent(broken, BETA), late], tmp_path, workers=2)
    assert search.states == dict.fromkeys(range(4), "complete")


@pytest.mark.parametrize(("error", "blameless"), [(Lost("gone"), True), (ray.exceptions.OutOfMemoryError("full"), False)])
def test_no_trial_is_to_blame_for_a_machine_that_is_gone_but_one_may_be_for_memory_that_is_full(tmp_path, error, blameless):
    def raising(job):
        yield []
        raise error

    search = Search(1)
    search.run([Agent(raising), Agent(well)], tmp_path, workers=1)
    assert search.lost[0].outcome.blameless is blameless


def test_what_an_agent_has_raised_is_told_without_where(tmp_path):
    def raising(job):
        yield []
        raise ray.exceptions.RayTaskError("run", "Traceback " * 100, ValueError("this is why")).as_instanceof_cause()

    search = Search(1)
    search.run([Agent(raising), Agent(well)], tmp_path, workers=1)
    assert search.lost[0].outcome.reason == "the worker on alpha was lost: ValueError: this is why"


def test_a_module_that_only_the_agent_lacks_is_told_with_the_way_to_bring_it(tmp_path):
    def raising(job):
        yield []
        raise ray.exceptions.RaySystemError("No module named 'mine'")

    search = Search(1)
    search.run([Agent(raising), Agent(well)], tmp_path, workers=1)
    assert "runtime_env={'working_dir': '.'}" in search.lost[0].outcome.reason


def test_what_a_dead_search_has_left_is_ended_but_not_what_that_of_a_copied_folder_has(tmp_path):
    here, copied = tmp_path / "here", tmp_path / "copied"
    Search(1).run([Agent(well)], here, workers=1)
    shutil.copytree(here, copied)
    agent = f"lightning-hp {(here / TOKEN).read_text()} 1"
    assert Search(1).run([Agent(well)], copied, workers=1, left={agent}).named == {agent}
    assert Search(1).run([Agent(well)], here, workers=1, left={agent}).named == set()
