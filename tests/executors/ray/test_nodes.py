"""A machine of a real Ray cluster that cannot train: it costs no trial, and soon gets no more."""

from __future__ import annotations

import os

import pytest

from examples.digits import LitDigits
from lightning_hp import Log, RayCluster
from lightning_hp.attempts import read_circumstances
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.trial import Finished, Printed, Retried, trial_folder
from tests.executors.ray.faulty import wait_until
from tests.executors.ray.heard import Heard

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")]

BROKEN = """
raise ImportError("libgomp.so.1: cannot open shared object file")
"""


def rows(study):
    return [(t.number, t.hparams, t.seed, t.state, t.value, t.epochs, t.metrics, t.reason) for t in study.trials]


@pytest.mark.parametrize("shared", [True, False])
def test_a_machine_with_a_broken_python_costs_no_trial_a_try_and_is_left_alone(search, machines, tmp_path, shared):
    told = tmp_path / "told"

    class Patient(LitDigits):
        def on_fit_start(self):
            # What works is busy as long as the other one is tried.
            wait_until(told.exists)

    (tmp_path / "broken/sklearn").mkdir(parents=True)
    (tmp_path / "broken/sklearn/__init__.py").write_text(BROKEN)
    path = os.pathsep.join([str(tmp_path / "broken"), os.environ["PYTHONPATH"]])
    present = [machines.add(own={"env_vars": {"PYTHONPATH": path}}), machines.add()]
    notes, retried = [], []

    def listen(event):
        # A busy computer may let it be told first that there is no machine yet.
        if isinstance(event, Printed) and not event.numbers and not event.line.startswith("waiting for a machine"):
            notes.append(event.line)
            told.touch()
        if isinstance(event, Retried) or (isinstance(event, Finished) and event.outcome.state == "failed"):
            retried.append(event)

    settings = {"space": {"lr": Log(1e-2, 1.0)}, "trials": 6, "trainer": {"max_epochs": 2, "accelerator": "cpu"}}
    loop = search(Patient, executor=RayCluster(shared=shared), retries=0, **settings)
    loop.executor = Heard(loop.executor, listen)
    study = loop.run()
    for machine in present:
        machines.remove(machine)
    assert retried == []
    (note,) = notes
    assert note.startswith("the last 3 jobs on ")
    assert note.endswith("it gets no more: ImportError: libgomp.so.1: cannot open shared object file")
    assert rows(study) == rows(search(Patient, root_dir=tmp_path / "inline", **settings).run())
    assert [len(read_circumstances(trial_folder(study.root, number))) for number in range(6)] == [1] * 6
