"""What every executor promises: a job is taken when it can start, events come in order, and a search ends the same in each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from examples.digits import LitDigits
from lightning_hp import ConfigError, MonitorError, RayCluster, SearchStoppedError, Trial
from lightning_hp.executors.choose import executor_for
from lightning_hp.executors.inline import Inline
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.executors.limits import Limits
from lightning_hp.executors.place import Place
from lightning_hp.executors.processes import Processes
from lightning_hp.trial import EpochEnded, Finished, Job, Outcome

ONE = [Place((), threads=1)]
EXECUTORS = {"inline": Inline(), "spawned": Processes(ONE, fork=False)}
if CAN_FORK:
    EXECUTORS["forked"] = Processes(ONE, fork=True)


@pytest.fixture(params=sorted(EXECUTORS))
def executor(request):
    return EXECUTORS[request.param]


def work(job, emit):
    for trial in job.trials:
        emit(EpochEnded(trial.number, 0, {}))
        emit(Finished(trial.number, Outcome("complete"), 0.0))


def jobs(story, count=2):
    """Hands out some jobs, and notes when."""
    numbers = iter(range(count))

    def next_job():
        number = next(numbers, None)
        if number is None:
            return None
        story.append(f"take {number}")
        return Job((Trial(number, {}, 0),))

    return next_job


@pytest.mark.slow
def test_a_job_is_taken_only_after_the_one_before_it_is_known(executor):
    story = []
    executor.run(jobs(story), work, lambda event: story.append(type(event).__name__))
    assert story == [word for number in range(2) for word in (f"take {number}", "EpochEnded", "Finished")]


def test_what_the_listener_raises_ends_the_run(executor):
    story = []

    def listen(event):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        executor.run(jobs(story), work, listen)
    assert story == ["take 0"]


def test_a_search_ends_the_same_in_processes_as_inline(search, tmp_path):
    def rows(study):
        return [(t.number, t.hparams, t.seed, t.state, t.value, t.epochs, t.metrics, t.reason) for t in study.trials]

    inline = search(trials=4).run()
    processes = search(trials=4, executor="processes", workers=2, root_dir=tmp_path / "processes").run()
    assert rows(processes) == rows(inline)
    assert processes.best.load().hparams.lr == inline.best.hparams["lr"]


@pytest.mark.slow
def test_what_condemns_a_search_does_so_from_a_process_too(search):
    with pytest.raises(MonitorError, match="did you mean 'val_acc'"):
        search(monitor="val_accuracy", executor="processes", workers=2).run()

    class Wrong(LitDigits):
        def configure_optimizers(self):
            raise TypeError("no such optimizer")

    with pytest.raises(SearchStoppedError, match="no such optimizer"):
        search(Wrong, executor="processes", workers=2, trials=20).run()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"asked": "thread"}, "executor='thread' is not one of auto, inline, processes, ray"),
        ({"asked": ["inline"]}, r"executor=\['inline'\] is not one of"),
        ({"asked": "inline", "limits": Limits(workers=2)}, "workers needs executor='processes'"),
        ({"asked": "inline", "limits": Limits(trial_timeout=3.0)}, "trial_timeout needs executor='processes'"),
        ({"asked": "inline", "devices": 2}, "devices above 1 needs executor='processes'"),
    ],
)
def test_what_an_executor_cannot_do_is_told(arguments, told):
    with pytest.raises(ConfigError, match=told):
        executor_for(**arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"workers": 0}, "workers needs a whole number of at least 1, got 0"),
        ({"jobs_per_device": True}, "jobs_per_device needs a whole number of at least 1, got True"),
        ({"jobs_per_device": 1.5}, "jobs_per_device needs a whole number of at least 1, got 1.5"),
        ({"memory_limit": -1}, "memory_limit needs a number of GiB above 0, got -1"),
        ({"memory_limit": math.inf}, "memory_limit needs a number of GiB above 0, got inf"),
    ],
)
def test_what_is_no_limit_is_told(arguments, told):
    with pytest.raises(ConfigError, match=told):
        Limits(**arguments)


def test_numpys_numbers_are_limits():
    assert Limits(memory_limit=np.float32(0.5)).memory == Limits(memory_limit=0.5).memory
    assert RayCluster(num_cpus=np.int64(2), num_gpus=np.float32(0.5)) == RayCluster(num_cpus=2, num_gpus=0.5)


def test_auto_takes_processes_where_there_is_room_or_need_for_them():
    assert isinstance(executor_for("auto", "cpu", limits=Limits(workers=1)), Inline)
    assert isinstance(executor_for("auto", "cpu", limits=Limits(workers=2)), Processes)
    assert isinstance(executor_for("auto", "cpu", limits=Limits(workers=1, trial_timeout=9.0)), Processes)
    assert isinstance(executor_for("auto", "cpu", devices=2, limits=Limits(workers=1)), Processes)
