"""Searches on the machines of a Ray cluster: they end as they do inline."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from examples.digits import LitDigits
from lightning_hp import Choice, ConfigError, Halving, Int, Log, MonitorError, RayCluster, SearchStoppedError, Trial
from lightning_hp.attempts import read_circumstances
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.executors.ray import agents
from lightning_hp.executors.ray.demand import Demand
from lightning_hp.executors.ray.executor import OnRay
from lightning_hp.executors.scratch import PREFIX, scratch_folder
from lightning_hp.trial import EpochEnded, Finished, Job, Outcome, Printed, trial_folder
from tests.executors.ray.heard import Heard
from tests.fit.fused.digits import curves

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")]


class Module(LitDigits):
    """Digits that end in several ways."""

    def __init__(self, lr, how="well"):
        super().__init__(lr=lr, hidden=16)
        self.how = how

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if self.current_epoch == 1:
            if self.how == "mistaken":
                raise ValueError("mine")
            if self.how == "hanging":
                time.sleep(1000)
            if self.how == "hoarding":
                self.hoard = [torch.ones(2**24) for _ in range(64)]
                time.sleep(1000)
        return loss * float("nan") if self.how == "diverging" and self.current_epoch == 1 else loss


@pytest.fixture(scope="module")
def two(machines):
    """Two machines with room for one job each."""
    return [machines.add(), machines.add()]


def enqueued(*hows):
    """The arguments of a search in which each trial does something else."""
    space = {"lr": Log(1e-2, 1.0), "how": Choice(*dict.fromkeys(hows))}
    return {"space": space, "enqueue": [{"lr": 0.1, "how": how} for how in hows], "trials": len(hows)}


def rows(study):
    return [(t.number, t.hparams, t.seed, t.state, t.value, t.epochs, t.metrics, t.reason) for t in study.trials]


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def assert_same(study, other):
    """Two searches of the same seed have ended alike: results, curves and weights."""
    assert rows(study) == rows(other)
    for one, two in zip(study.trials, other.trials, strict=True):
        ours, theirs = curves(study.root, one.number), curves(other.root, two.number)
        # As text, since no number equals nan.
        assert repr(ours) == repr(theirs)
        assert (one.checkpoint is None) == (two.checkpoint is None)
        if one.checkpoint is not None:
            assert one.checkpoint.is_relative_to(study.root)
            torch.testing.assert_close(weights(one.checkpoint), weights(two.checkpoint), rtol=0, atol=0)


@pytest.mark.parametrize("shared", [None, False])
def test_a_search_ends_the_same_on_a_cluster_as_inline_and_leaves_nothing_there(
    search, machines, two, tmp_path, monkeypatch, shared
):
    arguments = {**enqueued("well", "diverging", "mistaken", "well"), "trainer": {"max_epochs": 3, "accelerator": "cpu"}}
    inline = search(Module, root_dir=tmp_path / "inline", **arguments).run()
    study = search(Module, executor=RayCluster(shared=shared), **arguments).run()
    assert [trial.state for trial in inline.trials] == ["complete", "diverged", "failed", "complete"]
    assert_same(study, inline)
    assert study.best.load().hparams.lr == inline.best.hparams["lr"]
    assert [len(read_circumstances(trial_folder(study.root, number))) for number in range(4)] == [1] * 4
    # One that was not ready before all was over was ended as it stood; the next search on its machine removes what it has left.
    monkeypatch.setattr(tempfile, "tempdir", str(machines.temporary))
    with scratch_folder():
        pass
    assert [*machines.temporary.glob(f"{PREFIX}*")] == []


def test_no_more_agents_start_than_there_are_jobs(search, two, monkeypatch):
    counts = []
    grow = agents.Agents.grow

    def noted(self, count):
        grow(self, count)
        counts.append(len(self))

    monkeypatch.setattr(agents.Agents, "grow", noted)
    loop = search(
        executor=RayCluster(), trials=2, pruner=Halving(first=1, factor=2), trainer={"max_epochs": 2, "accelerator": "cpu"}
    )
    study = loop.run()
    assert max(counts) == 2
    counts.clear()
    loop.finish(next(trial.number for trial in study.trials if trial.state == "pruned"))
    assert set(counts) == {1}


def test_trials_train_as_one_on_a_cluster(search, two, tmp_path):
    arguments = {"space": {"lr": Log(1e-2, 1.0)}, "monitor": "val_loss", "mode": "min", "trials": 6, "fuse": "always"}
    inline = search(root_dir=tmp_path / "inline", **arguments).run()
    study = search(executor=RayCluster(shared=False), **arguments).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 6
    assert [trial.value for trial in study.trials] == pytest.approx([trial.value for trial in inline.trials], rel=1e-3)
    together = [attempt.together for number in range(6) for attempt in read_circumstances(trial_folder(study.root, number))]
    # One job for each machine.
    assert together == [3] * 6
    for trial in study.trials:
        assert weights(trial.checkpoint).keys() == weights(inline.trials[trial.number].checkpoint).keys()


def test_what_one_machine_gives_back_trains_on_any(search, two, tmp_path):
    widths = [{"lr": 0.01 * (1 + number), "hidden": 8 + number % 2} for number in range(8)]
    arguments = {"space": {"lr": Log(1e-2, 1.0), "hidden": Int(8, 9)}, "enqueue": widths, "trials": 8}
    inline = search(root_dir=tmp_path / "inline", fuse="never", **arguments).run()
    study = search(executor=RayCluster(shared=False), fuse="always", **arguments).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 8
    assert [trial.value for trial in study.trials] == pytest.approx([trial.value for trial in inline.trials], rel=1e-3)
    # Each machine keeps two of its four.
    assert sum(read_circumstances(trial_folder(study.root, number))[-1].together == 2 for number in range(8)) >= 4


def test_what_paused_goes_on_from_the_checkpoint_that_came_back(search, two, tmp_path):
    arguments = {"space": {"lr": Log(1e-3, 1.0)}, "trials": 6, "strategy": "random"}
    arguments["trainer"] = {"max_epochs": 4, "accelerator": "cpu"}
    ray = {"executor": RayCluster(shared=False), **arguments}
    halving = {"pruner": Halving(first=1, factor=2)}
    inline = search(root_dir=tmp_path / "inline", **halving, **arguments).run()
    study = search(root_dir=tmp_path / "halving", **halving, **ray).run()
    assert {trial.state for trial in study.trials} == {"complete", "pruned"}
    assert_same(study, inline)

    whole = search(root_dir=tmp_path / "whole", **arguments).run()
    study = search(root_dir=tmp_path / "asha", pruner="asha", **ray).run()
    assert {trial.state for trial in study.trials} == {"complete", "pruned"}
    for trial, other in zip(study.trials, whole.trials, strict=True):
        assert trial.metrics == {name: values[: trial.epochs] for name, values in other.metrics.items()}
    # Those that went on did not begin anew.
    assert any(attempt.step > 0 for number in range(6) for attempt in read_circumstances(trial_folder(study.root, number)))


def test_a_trial_ends_at_its_timeout_or_memory_limit_and_the_others_go_on(search, two):
    hows = enqueued("well", "hanging", "hoarding", "well")
    limits = {"trial_timeout": 12, "memory_limit": 2.0, "retries": 1}
    study = search(Module, executor="ray", **hows, **limits).run()
    assert [trial.state for trial in study.trials] == ["complete", "failed", "failed", "complete"]
    assert study.trials[1].reason == "no end after 12 seconds (trial_timeout)"
    assert study.trials[2].reason.startswith("out of memory: the worker used")
    assert study.trials[2].reason.endswith("memory_limit is 2.00 GiB (2 tries)")


@dataclass(frozen=True)
class Marking:
    """Tells the mark of its machine as the reason."""

    root: Path

    def under(self, root):
        return replace(self)

    def __call__(self, job, emit):
        emit(Finished(job.trials[0].number, Outcome("failed", reason=os.environ["RAY_RAYLET_PID"]), 0.0))


def test_jobs_run_on_the_machines_with_the_labels_that_were_asked_for(machines, tmp_path):
    kinds = [machines.add(own={"labels": {"kind": kind}}, late=1) for kind in ("small", "big", "small")]
    jobs = iter([Job((Trial(number, {}, 0),)) for number in range(3)])
    heard = []
    executor = OnRay(Demand(RayCluster(resources={"late": 1}, label_selector={"kind": "!in(small,tiny)"})))
    assert executor.at_a_time == 1
    executor.run(lambda: next(jobs, None), Marking(tmp_path), heard.append)
    marks = [event.outcome.reason for event in heard if isinstance(event, Finished)]
    assert marks == [str(machines.mark(kinds[1]))] * 3
    for machine in kinds:
        machines.remove(machine)


def test_what_condemns_a_search_does_so_from_a_cluster_too(search, two, tmp_path):
    with pytest.raises(MonitorError, match="did you mean 'val_acc'"):
        search(monitor="val_accuracy", executor="ray", root_dir=tmp_path / "monitor").run()

    class Wrong(LitDigits):
        def configure_optimizers(self):
            raise TypeError("no such optimizer")

    with pytest.raises(SearchStoppedError, match="no such optimizer"):
        search(Wrong, executor="ray", trials=20).run()


def test_what_cannot_be_sent_to_a_cluster_is_told(search, two):
    class Holding(LitDigits):
        lock = __import__("threading").Lock()

    with pytest.raises(ConfigError, match=r"cannot be sent to other machines.*executor='inline'"):
        search(Holding, executor="ray").run()


@dataclass(frozen=True)
class Talking:
    """Tells of many epochs, and writes down how many it has told."""

    root: Path
    count: int

    def under(self, root):
        return replace(self)

    def __call__(self, job, emit):
        (trial,) = job.trials
        for epoch in range(self.count):
            emit(EpochEnded(trial.number, epoch, {"metric": float(epoch)}))
            if epoch % 100 == 99:
                os.truncate(self.root / "told", epoch + 1)
        emit(Finished(trial.number, Outcome("complete"), 0.0))


def test_a_search_that_is_slow_to_listen_has_the_training_wait_and_misses_nothing(two, tmp_path):
    count = 60_000
    told = tmp_path / "told"
    told.touch()
    heard, lead = [], []

    def emit(event):
        if isinstance(event, Printed):
            # It may take a while until a busy machine has started the worker, which is told.
            return
        if not heard:
            # Until no more is told.
            before = -1
            while (size := told.stat().st_size) != before or not size:
                before = size
                time.sleep(2)
            lead.append(size)
        heard.append(event)

    jobs = iter([Job((Trial(0, {}, 0),))])
    OnRay(Demand(RayCluster())).run(lambda: next(jobs, None), Talking(tmp_path, count), emit)
    assert lead[0] < count / 2
    assert [event.epoch for event in heard[:-1]] == list(range(count))
    assert isinstance(heard[-1], Finished)


def test_a_search_waits_for_a_machine_with_room_and_a_trial_may_have_processes_there(search, machines, two, monkeypatch):
    monkeypatch.setattr(agents, "PATIENCE", 0.0)
    notes = []

    def listen(event):
        if isinstance(event, Printed) and not event.numbers:
            notes.append(event.line)
            joined.append(machines.add(num_cpus=2, late=1))

    joined = []
    trainer = {"max_epochs": 2, "accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    loop = search(executor=RayCluster(resources={"late": 1}), trainer=trainer, trials=2)
    loop.executor = Heard(loop.executor, listen)
    study = loop.run()
    assert notes == ["no machine of the cluster has what a job takes: 2 CPU, 1 late; waiting for one to join"]
    assert [trial.state for trial in study.trials] == ["complete"] * 2
    assert [attempt.devices for attempt in read_circumstances(trial_folder(study.root, 0))] == [2]
    machines.remove(joined[0])
