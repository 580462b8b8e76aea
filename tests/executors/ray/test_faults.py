"""Whatever breaks on a Ray cluster: no trial is lost, none is there twice, each goes on from its last checkpoint."""

from __future__ import annotations

import os
import platform
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch

from lightning_hp import Choice, Log, RayCluster, Study
from lightning_hp.attempts import read_circumstances
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.executors.limits import Limits
from lightning_hp.executors.ray.demand import Demand
from lightning_hp.executors.ray.executor import OnRay
from lightning_hp.fit.fused import saving
from lightning_hp.trial import Finished, Job, Outcome, Trial, trial_folder
from tests.executors.ray.faulty import EPOCH, Faulty, alive, parent, read, wait_until
from tests.executors.ray.heard import Heard
from tests.fit.fused.digits import curves
from tests.scripts import QUICKLY

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")]

TRAINER = {"max_epochs": EPOCH + 2, "accelerator": "cpu", "log_every_n_steps": 1}


def enqueued(*hows):
    """The arguments of a search in which something else happens to each trial."""
    space = {"lr": Log(1e-2, 1.0), "how": Choice(*dict.fromkeys(hows))}
    enqueue = [{"lr": 0.1 + 0.01 * number, "how": how} for number, how in enumerate(hows)]
    return {"space": space, "enqueue": enqueue, "trials": len(hows), "trainer": TRAINER}


class Calm(Faulty):
    """Digits to which nothing happens."""

    def on_train_epoch_start(self):
        pass


def row(trial):
    return trial.number, trial.hparams, trial.seed, trial.state, trial.value, trial.epochs, trial.metrics, trial.reason


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def assert_as_if_nothing_had_happened(study, calm):
    """Each trial is there once, with the results, the curves and the weights of a search that nobody disturbed."""
    with closing(sqlite3.connect(study.root / "study.db")) as connection:
        numbers = [number for (number,) in connection.execute("SELECT number FROM trials")]
    assert sorted(numbers) == [trial.number for trial in calm.trials]
    for trial, other in zip(study.trials, calm.trials, strict=True):
        assert row(trial) == row(other)
        assert curves(study.root, trial.number) == curves(calm.root, trial.number)
        torch.testing.assert_close(weights(trial.checkpoint), weights(other.checkpoint), rtol=0, atol=0)
    assert [path for path in study.root.rglob("*") if path.name.endswith((".new", ".part", "-journal"))] == []


def steps(study, number):
    """Where each attempt at a trial began."""
    lines = (trial_folder(study.root, number) / "conditions.jsonl").read_text().splitlines()
    return [int(line.rpartition('"step": ')[2].rstrip("}")) for line in lines]


@pytest.mark.parametrize("shared", [False, True])
def test_whatever_is_killed_its_trial_goes_on_elsewhere_and_a_machine_that_joins_is_used(search, machines, tmp_path, shared):
    class Patient(Faulty):
        root, notes = tmp_path / "study", tmp_path / "notes"

        def on_train_epoch_start(self):
            super().on_train_epoch_start()
            if self.how == "patient":
                # One machine is gone and one is busy with this: another trains.
                wait_until(lambda: len({note.machine for note in read(self.notes)}) == 3)

    hows = enqueued("training", "agent", "patient", "machine", "well")
    calm = search(Calm, root_dir=tmp_path / "calm", **hows).run()
    present = [machines.add(), machines.add()]
    lost = Counter()

    def listen(event):
        if isinstance(event, Finished) and event.outcome.retriable:
            lost[event.number] += 1
            if event.number == 3:
                present.append(machines.add())

    loop = search(Patient, executor=RayCluster(shared=shared), retries=1, **hows)
    loop.executor = Heard(loop.executor, listen)
    study = loop.run()
    notes = read(Patient.notes)
    marks = {machines.mark(machine) for machine in present}
    for machine in present:
        machines.remove(machine)

    assert_as_if_nothing_had_happened(study, calm)
    # Only once, and by us alone.
    assert lost == {0: 1, 1: 1, 3: 1}
    for number in (0, 1, 3):
        assert steps(study, number)[0] == 0
        assert steps(study, number)[1] > 0
        assert Counter(note.epoch for note in notes if note.name == f"{number:06d}")[0] == 1
    assert {note.machine for note in notes} == marks
    wait_until(lambda: not any(alive(pid) for note in notes for pid in note.family))


def test_trials_that_train_as_one_go_on_as_one_when_their_agent_is_killed(search, machines, tmp_path):
    class Often:
        def __init__(self, lr, how):
            super().__init__(lr, how)
            # In the worker, too.
            saving.PARTS = 0

    class Together(Often, Faulty):
        root, notes = tmp_path / "study", tmp_path / "notes"

        def on_train_epoch_start(self):
            if self.name == "000000":
                super().on_train_epoch_start()

    class Undisturbed(Often, Calm):
        pass

    machine = machines.add()
    hows = {**enqueued("agent", "agent", "agent"), "fuse": "always"}
    calm = search(Undisturbed, root_dir=tmp_path / "calm", **hows).run()
    study = search(Together, executor=RayCluster(shared=False), retries=2, **hows).run()
    machines.remove(machine)
    assert_as_if_nothing_had_happened(study, calm)
    for number in range(3):
        first, second = read_circumstances(trial_folder(study.root, number))
        assert (first.together, second.together) == (3, 3)
        assert second.step > 0


def test_a_trial_whose_agent_is_always_killed_has_as_many_tries_as_the_search_allows(search, machines, tmp_path):
    class Dying(Faulty):
        root, notes = tmp_path / "study", tmp_path / "notes"

    machine = machines.add()
    study = search(Dying, executor=RayCluster(shared=False), retries=1, **enqueued("always", "well")).run()
    machines.remove(machine)
    assert [trial.state for trial in study.trials] == ["failed", "complete"]
    reason = study.trials[0].reason
    assert reason.startswith(
        f"the worker on {platform.node()} was lost: The actor died unexpectedly before finishing this task. "
    )
    assert reason.endswith("(2 tries)")
    assert len(reason.splitlines()) == 1
    epochs = Counter(note.epoch for note in read(Dying.notes) if note.name == "000000")
    assert (epochs[0], epochs[EPOCH]) == (1, 2)


def test_a_machine_that_hangs_is_given_up_and_its_late_result_is_refused(search, machines, tmp_path):
    stopped, late, ended = tmp_path / "stopped", tmp_path / "late", tmp_path / "ended"

    class Hanging(Faulty):
        root, notes = tmp_path / "study", tmp_path / "notes"

        def on_train_epoch_start(self):
            super().on_train_epoch_start()
            attempts = [note for note in read(self.notes) if note.name == self.name and note.epoch == self.current_epoch]
            if self.how != "hanging":
                # Long enough for its machine to be there still when the other one hangs.
                wait_until(stopped.exists)
            elif self.current_epoch == EPOCH and len(attempts) == 1:
                self.wait_for(self.root / "trials" / self.name / "checkpoints" / "last.ckpt")
                self.stop(attempts[0])
            elif self.current_epoch == EPOCH + 1 and late.exists() is False and len(attempts) == 1 and self.resumed:
                self.awake(read(self.notes))

        @property
        def resumed(self):
            return os.getpid() != next(note.training for note in read(self.notes) if note.name == self.name)

        def stop(self, here):
            stopped.write_text(f"{here.machine}")
            for pid in (here.machine, here.agent, here.server, here.training):
                os.kill(pid, signal.SIGSTOP)
            late.touch()

        def awake(self, notes):
            """Has the other go on, first what trains, so that its agent has something to tell, and last its machine."""
            there = next(note for note in notes if note.name == self.name)
            for pid in (there.training, there.server):
                os.kill(pid, signal.SIGCONT)
            wait_until(ended.exists)
            for pid in (there.agent, there.machine):
                os.kill(pid, signal.SIGCONT)
            # The cluster takes it back no more.
            wait_until(lambda: not any(map(alive, (*there.family, there.machine))))

        def on_fit_end(self):
            if self.how == "hanging" and not self.resumed:
                ended.touch()

    hows = enqueued("hanging", "well")
    calm = search(Calm, root_dir=tmp_path / "calm", **hows).run()
    present = [machines.add(), machines.add()]
    study = search(Hanging, executor=RayCluster(shared=False), retries=1, **hows).run()
    for machine in present:
        machines.remove(machine)
    assert late.exists()
    assert_as_if_nothing_had_happened(study, calm)
    assert [step > 0 for step in steps(study, 0)] == [False, True]


@dataclass(frozen=True)
class Noting:
    """Writes down which process is its agent's."""

    root: Path

    def under(self, root):
        return replace(self, root=root)

    def __call__(self, job, emit):
        (self.root / "agent").write_text(f"{parent(os.getppid())}")
        emit(Finished(job.trials[0].number, Outcome("complete"), 0.0))


def test_an_agent_that_dies_while_it_has_nothing_to_do_costs_its_next_job_no_try(machines, tmp_path):
    machine = machines.add()
    given, heard = [], []

    def next_job():
        if len(given) == 1:
            os.kill(int((tmp_path / "agent").read_text()), signal.SIGKILL)
        given.append(len(given))
        return Job((Trial(given[-1], {}, 0),)) if len(given) <= 2 else None

    OnRay(Demand(RayCluster(shared=True), limits=Limits(workers=1))).run(next_job, Noting(tmp_path), heard.append)
    machines.remove(machine)
    assert [(event.number, event.outcome.state) for event in heard if isinstance(event, Finished)] == [
        (0, "complete"),
        (1, "complete"),
    ]


SCRIPT = f"""{QUICKLY}
import sys
import time
from pathlib import Path

import torch
from examples.digits import DigitsData
from lightning_hp import Choice, Log, RayCluster, SearchLoop
from tests.executors.ray.faulty import Faulty

torch.set_num_threads(1)
folder, shared = Path(sys.argv[1]), sys.argv[2] == "True"

class Waiting(Faulty):
    root, notes = folder / "study", folder / "notes"

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        while not (folder / f"epoch {{self.current_epoch}}").exists():
            time.sleep(0.05)

SearchLoop(Waiting, space=dict(lr=Log(1e-2, 1.0), how=Choice("well")), data=DigitsData, monitor="val_acc", mode="max", trials=3,
           trainer=dict(max_epochs=4, accelerator="cpu", log_every_n_steps=1), executor=RayCluster(shared=shared),
           fuse="never", root_dir=folder / "study", progress=False).run()
"""


def has_come(process, notes, epoch, files):
    """Whether two trials are in an epoch, and have their files."""
    assert process.poll() is None, process.stderr.read()
    here = {note.name for note in read(notes) if note.epoch == epoch}
    return here >= {"000000", "000001"} and all(path.exists() for path in files)


def test_a_search_that_is_ended_leaves_nothing_behind_and_goes_on_when_it_is_started_again(search, machines, tmp_path):
    space = {"lr": Log(1e-2, 1.0), "how": Choice("well")}
    calm = search(Calm, root_dir=tmp_path / "calm", space=space, trainer=TRAINER).run()
    present = [machines.add(), machines.add()]
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(tmp_path)]
    notes, root = tmp_path / "notes", tmp_path / "study"
    ends = [(signal.SIGINT, True), (signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGKILL, True)]
    for epoch, (number, shared) in enumerate(ends):
        # They wait where this is not there yet.
        (tmp_path / f"epoch {epoch - 1}").touch()
        with subprocess.Popen([*command, str(shared)], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            began = [root / f"trials/{trial:06d}/checkpoints/last.ckpt" for trial in (0, 1)]
            wait_until(partial(has_come, process, notes, epoch, began if epoch else []))
            process.send_signal(number)
            process.communicate(timeout=60)
        wait_until(lambda: not any(alive(pid) for note in read(notes) for pid in note.family))
        assert not any(trial.finished for trial in Study(root).trials)
    (tmp_path / "epoch 3").touch()
    done = subprocess.run([*command, "False"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for machine in present:
        machines.remove(machine)
    study = Study(root)
    assert_as_if_nothing_had_happened(study, calm)
    for number in (0, 1):
        assert steps(study, number)[0] == 0
        assert steps(study, number)[-1] > 0
