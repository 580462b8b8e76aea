"""An agent, without a cluster: what its jobs see of the machine, and what it says where nothing can run."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

import cloudpickle
import pytest

from lightning_hp.errors import LightningHPError
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.executors.limits import NO_LIMITS
from lightning_hp.executors.ray.agent import Agent, Settings
from lightning_hp.trial import Finished, Job, Outcome, Trial

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")

JOB = Job((Trial(0, {}, 0),))


@dataclass(frozen=True)
class Looking:
    """Ends with the GPUs that are in its sight as the reason."""

    root: Path

    def under(self, root):
        return replace(self, root=root)

    def __call__(self, job, emit):
        emit(Finished(0, Outcome("failed", reason=os.environ["CUDA_VISIBLE_DEVICES"]), 0.0))


def settings(root, **changes):
    usual = Settings(str(root), "token", None, 1, 1, False, NO_LIMITS, False)
    return replace(usual, **changes)


def outcome(agent):
    messages = [message for batch in agent.run(JOB, None) for message in batch]
    (finished,) = (message for message in messages if isinstance(message, Finished))
    return finished.outcome


@pytest.mark.parametrize(("uses_gpus", "seen"), [(True, "2,GPU-5"), (False, "")])
def test_a_job_sees_the_gpus_that_its_agent_was_given_and_no_others(tmp_path, monkeypatch, uses_gpus, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    agent = Agent(cloudpickle.dumps(Looking(tmp_path)), settings(tmp_path, uses_gpus=uses_gpus))
    try:
        assert outcome(agent).reason == seen
    finally:
        agent.end()


def test_a_machine_without_the_folder_that_all_are_said_to_see_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    root = tmp_path / "not mounted"
    agent = Agent(cloudpickle.dumps(Looking(root)), settings(root, shared=True))
    with pytest.raises(LightningHPError, match=rf"^{platform.node()} can run no job: {root} is not there.*leave shared out$"):
        agent.where()
    assert not root.exists()


def test_a_machine_whose_temporary_folder_takes_nothing_says_so_before_it_has_a_job(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    agent = Agent(cloudpickle.dumps(Looking(tmp_path)), settings(tmp_path))
    with pytest.raises(LightningHPError, match=r"can run no job: .*nowhere"):
        agent.where()
