"""What every executor promises: a job is taken when it can start, and events come in order."""

from __future__ import annotations

import pytest

from lightning_hp import ConfigError, Trial
from lightning_hp.executors import EXECUTORS, executor_for
from lightning_hp.trial import Finished, Job, Outcome, Started


@pytest.fixture(params=sorted(EXECUTORS))
def executor(request):
    return executor_for(request.param)


def work(job, emit):
    for trial in job.trials:
        emit(Started(trial, 0.0))
        emit(Finished(trial.number, Outcome("complete"), 0.0))


def test_a_job_is_taken_only_after_the_one_before_it_is_known(executor):
    story = []

    def jobs():
        for number in range(3):
            story.append(f"take {number}")
            yield Job((Trial(number, {}, 0),))

    executor.run(jobs(), work, lambda event: story.append(type(event).__name__))
    assert story == ["take 0", "Started", "Finished", "take 1", "Started", "Finished", "take 2", "Started", "Finished"]


def test_what_the_listener_raises_ends_the_run(executor):
    taken = []

    def jobs():
        for number in range(3):
            taken.append(number)
            yield Job((Trial(number, {}, 0),))

    def listen(event):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        executor.run(jobs(), work, listen)
    assert taken == [0]


def test_an_unknown_executor_is_told():
    with pytest.raises(ConfigError, match="executor='inlin' is not one of auto, inline"):
        executor_for("inlin")
