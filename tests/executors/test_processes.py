"""Worker processes: whatever becomes of one, its trial ends with the reason, the search goes on, and nothing is left."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from examples.digits import LitDigits
from lightning_hp import Choice, ConfigError, Log
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.executors.scratch import PREFIX
from tests.scripts import QUICKLY

SPACE = {"lr": Log(1e-2, 1.0), "how": Choice("well", "badly")}

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")


class Module(LitDigits):
    """Digits that do something bad in some trials."""

    def __init__(self, lr, how):
        super().__init__(lr=lr, hidden=8, layers=1)
        self.how = how

    def bad(self):
        raise NotImplementedError

    def on_train_epoch_start(self):
        if self.how == "badly":
            self.bad()


def run(search, bad, **arguments):
    """Runs four trials, some of which do ``bad``; gives (those, the others)."""

    class Bad(Module):
        pass

    Bad.bad = bad
    arguments = {"trials": 4, "retries": 0, "executor": "processes", "workers": 2, **arguments}
    study = search(Bad, space=SPACE, **arguments).run()
    badly = [trial for trial in study.trials if trial.hparams["how"] == "badly"]
    well = [trial for trial in study.trials if trial.hparams["how"] == "well"]
    assert badly
    assert well
    assert [trial.state for trial in well] == ["complete"] * len(well)
    assert [trial.state for trial in badly] == ["failed"] * len(badly)
    return badly, well


def leave_a_child_and_go(self):
    # It holds the worker's pipes, and is in no group of ours.
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
    os._exit(3)


def say_something_and_go(self):
    print("what " * 2000 + "I wanted to say")
    os._exit(3)


def hoard(self):
    self.hoard = [torch.ones(2**24) for _ in range(64)]
    time.sleep(1000)


ENDS = {
    "exit": (lambda self: os._exit(3), "the worker process ended by itself with exit code 3"),
    "exit in silence": (lambda self: os._exit(0), "the worker process ended by itself with exit code 0"),
    "SIGKILL": (
        lambda self: os.kill(os.getpid(), signal.SIGKILL),
        "the worker process was ended by SIGKILL, perhaps by the system",
    ),
    "a crash": (lambda self: os.kill(os.getpid(), signal.SIGSEGV), "the worker process was ended by SIGSEGV"),
    "any signal": (lambda self: os.kill(os.getpid(), signal.SIGRTMIN + 6), "was ended by signal 40"),
    "no memory": (lambda self: torch.empty(10**15), "out of memory|can't allocate memory"),
    "a hoard": (hoard, "^out of memory: the worker used .* memory_limit is 2.00 GiB$"),
    "a child that stays": (leave_a_child_and_go, "^the worker process ended by itself with exit code 3$"),
    "last words": (say_something_and_go, "^the worker process ended by itself with exit code 3; "),
}


class Ending(Module):
    """Digits that end in many ways."""

    notes = None

    def on_fit_start(self):
        (self.notes / str(os.getpid())).write_text(str(torch.get_num_threads()))

    def on_train_epoch_start(self):
        if self.how != "well":
            ENDS[self.how][0](self)


@pytest.fixture(scope="module")
def ended(search_in, tmp_path_factory):
    """A search with a trial of each end among others that do well; gives (study, where each worker has noted its threads)."""

    class Noting(Ending):
        notes = tmp_path_factory.mktemp("notes")

    hows = ["well", *ENDS, "well", "well"]
    study = search_in(
        tmp_path_factory.mktemp("ended") / "study",
        Noting,
        space={"lr": Log(1e-2, 1.0), "how": Choice("well", *ENDS)},
        enqueue=[{"lr": 0.1, "how": how} for how in hows],
        trials=len(hows),
        retries=0,
        executor="processes",
        workers=2,
        memory_limit=2.0,
        trial_timeout=120,
    ).run()
    return study, Noting.notes


@pytest.mark.slow
@pytest.mark.parametrize("how", ENDS)
def test_a_worker_that_dies_fails_its_trial_alone_and_that_is_told(ended, how):
    study, _ = ended
    states = {trial.hparams["how"]: trial.state for trial in study.trials}
    assert states == {"well": "complete", **dict.fromkeys(ENDS, "failed")}
    (trial,) = [trial for trial in study.trials if trial.hparams["how"] == how]
    assert re.search(ENDS[how][1], trial.reason)
    assert len(trial.reason) <= 500


def test_cores_are_divided_among_the_workers(ended):
    study, notes = ended
    cores = len(os.sched_getaffinity(0))
    threads = [path.read_text() for path in notes.iterdir()]
    assert threads == [str(max(1, cores // 2))] * len(study.trials)


@pytest.mark.slow
def test_a_trial_that_hangs_is_ended_at_its_timeout(search):
    badly, _ = run(search, lambda self: time.sleep(1000), trial_timeout=6)
    assert {trial.reason for trial in badly} == {"no end after 6 seconds (trial_timeout)"}


def test_a_lost_worker_is_tried_again_and_goes_on_from_its_checkpoint(search, tmp_path):
    seen = tmp_path / "seen"

    class Once(Module):
        def on_train_epoch_start(self):
            with seen.open("a") as file:
                file.write(f"{self.hparams.lr} {self.current_epoch}\n")
            if self.current_epoch == 2 and seen.read_text().count(f"{self.hparams.lr} 2\n") == 1:
                os._exit(1)

    arguments = {"space": SPACE, "trials": 2, "trainer": {"max_epochs": 4, "accelerator": "cpu"}}
    study = search(Once, executor="processes", workers=2, retries=1, **arguments).run()
    assert [(trial.state, trial.epochs) for trial in study.trials] == [("complete", 4)] * 2
    epochs = [int(line.split()[1]) for line in seen.read_text().splitlines()]
    assert sorted(epochs) == [0, 0, 1, 1, 2, 2, 2, 2, 3, 3]

    class Never(Module):
        def on_train_epoch_start(self):
            pass

    quiet = search(Never, executor="inline", root_dir=tmp_path / "quiet", **arguments).run()
    assert [trial.metrics for trial in study.trials] == [trial.metrics for trial in quiet.trials]


def test_classes_of_the_script_may_be_choices(search):
    class Mine(torch.nn.ReLU):
        pass

    def model(lr, layer, hook):
        made = LitDigits(lr=lr)
        made.net.append(layer())
        return hook(made)

    space = {"lr": Log(1e-2, 1.0), "layer": Choice(Mine, torch.nn.Identity), "hook": Choice(lambda made: made)}
    study = search(model, space=space, executor="processes", workers=2, trials=4).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 4
    assert Mine in {trial.hparams["layer"] for trial in study.trials}


class Forking:
    """A model factory that has the fork server do at each fork what asyncio does from Python 3.12 on."""

    def __call__(self, lr):
        return LitDigits(lr=lr)

    def __reduce__(self):
        return loaded_by_the_server, ()


def loaded_by_the_server():
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    return Forking()


@pytest.mark.slow
def test_workers_start_where_a_fork_leaves_nothing_to_wake_up_by(search):
    study = search(Forking(), space={"lr": Log(1e-2, 1.0)}, executor="processes", workers=2, trials=2, retries=0).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 2


def lose_a_connection(self):
    here, there = multiprocessing.Pipe()
    there.close()
    here.recv()


def mistake(self):
    raise ValueError("mine")


@pytest.mark.slow
def test_a_trial_that_was_lost_is_tried_again_and_one_with_an_error_is_not(search, tmp_path):
    tries = tmp_path / "tries"
    bad = {"exit": lambda self: os._exit(3), "a lost connection": lose_a_connection, "an error": mistake}

    class Failing(Module):
        def on_train_epoch_start(self):
            with tries.open("a") as file:
                file.write(f"{self.how}\n")
            if self.how in bad:
                bad[self.how](self)

    hows = ["well", *bad]
    space = {"lr": Log(1e-2, 1.0), "how": Choice(*hows)}
    enqueue = [{"lr": 0.1, "how": how} for how in hows]
    settings = {"trials": len(hows), "enqueue": enqueue, "trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    study = search(Failing, space=space, executor="processes", workers=2, retries=2, **settings).run()
    assert {trial.hparams["how"]: trial.reason for trial in study.trials} == {
        "well": None,
        "exit": "the worker process ended by itself with exit code 3 (3 tries)",
        "a lost connection": "EOFError: (3 tries)",
        "an error": "ValueError: mine",
    }
    assert Counter(tries.read_text().splitlines()) == {"well": 1, "exit": 3, "a lost connection": 3, "an error": 1}


ONLY_HERE = """
import os
from examples.digits import LitDigits

if os.getpid() != int(os.environ["HERE"]):
    raise ImportError("not there")

class Mine(LitDigits):
    pass
"""


@pytest.mark.slow
def test_a_module_that_cannot_be_imported_in_the_worker_fails_its_trials(search, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text(ONLY_HERE)
    monkeypatch.setenv("HERE", str(os.getpid()))
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    study = search(only_here.Mine, executor="processes", workers=2, trials=2).run()
    assert [trial.state for trial in study.trials] == ["failed", "failed"]
    assert "ImportError: not there" in study.trials[0].reason


WITH_FOLDERS = """
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from examples.digits import LitDigits

SHARED = TemporaryDirectory(prefix="shared", dir=os.environ["HERE"])

class Mine(LitDigits):
    def on_fit_start(self):
        assert Path(SHARED.name).is_dir()
        self.own = TemporaryDirectory(prefix="own", dir=os.environ["HERE"])
        (Path(os.environ["SEEN"]) / str(os.getpid())).write_text(Path(self.own.name).name)
"""


@pytest.mark.slow
def test_what_a_module_cleans_up_stays_for_all_workers_and_a_worker_cleans_up_its_own(search, tmp_path, monkeypatch):
    (tmp_path / "with_folders.py").write_text(WITH_FOLDERS)
    for name in ("HERE", "SEEN"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.syspath_prepend(tmp_path)
    import with_folders

    study = search(with_folders.Mine, executor="processes", workers=1, trials=3).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 3
    assert len(list((tmp_path / "SEEN").iterdir())) == 3
    # The one left is this process's own.
    assert [str(path) for path in (tmp_path / "HERE").iterdir()] == [with_folders.SHARED.name]


@pytest.mark.slow
def test_a_trial_whose_loaders_worker_is_killed_is_tried_again_and_one_whose_worker_ends_by_itself_is_not(search):
    class Ending(TensorDataset):
        def __init__(self, end, *tensors):
            super().__init__(*tensors)
            self.end = end

        def __getitem__(self, index):
            self.end()

    ends = {"killed": lambda: os.kill(os.getpid(), signal.SIGKILL), "ended": lambda: os._exit(3)}

    def data(how):
        tensors = torch.rand(8, 64), torch.zeros(8, dtype=torch.long)
        dataset = TensorDataset(*tensors)
        loader = DataLoader(Ending(ends[how], *tensors) if how in ends else dataset, batch_size=4, num_workers=1)
        return loader, DataLoader(dataset, batch_size=8)

    hows = ["well", *ends, "well"]
    space = {"lr": Log(1e-2, 1.0), "data.how": Choice("well", *ends)}
    enqueue = [{"lr": 0.1, "data.how": how} for how in hows]
    settings = {"data": data, "trials": len(hows), "enqueue": enqueue, "retries": 1}
    study = search(space=space, executor="processes", workers=2, **settings).run()
    assert [trial.state for trial in study.trials] == ["complete", "failed", "failed", "complete"]
    killed, ended = study.trials[1].reason, study.trials[2].reason
    assert "DataLoader worker" in killed
    assert "DataLoader worker" in ended
    assert killed.endswith("(2 tries)")
    assert "tries" not in ended


def test_what_cannot_be_sent_to_a_worker_is_told(search):
    class Holding(LitDigits):
        lock = __import__("threading").Lock()

    with pytest.raises(ConfigError, match=r"cannot be sent to a worker process.*executor='inline'"):
        search(Holding, executor="processes", workers=2).run()


SCRIPT = f"""{QUICKLY}
import os, sys
import torch
from examples.digits import DigitsData, LitDigits
from lightning_hp import Log, SearchLoop

torch.set_num_threads(1)

class Mine(LitDigits):
    def on_train_epoch_start(self):
        print("epoch", self.current_epoch, flush=True)

SearchLoop(Mine, space=dict(lr=Log(1e-2, 1.0)), data=DigitsData, monitor="val_acc", mode="max", trials=2,
           trainer=dict(max_epochs=int(sys.argv[2]), accelerator="cpu"), executor="processes", workers=2,
           root_dir=sys.argv[1]).run()
"""


@pytest.mark.slow
def test_a_script_needs_no_main_guard_its_prints_are_seen_and_no_file_beside_it_stands_for_one_of_pythons(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("json", "signal", "ctypes", "site", "torch"):
        (elsewhere / f"{name}.py").write_text("raise RuntimeError('not this one')")
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "study", "1"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 0") == 2
    assert "not this one" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_the_search(tmp_path, number):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    with subprocess.Popen(
        [sys.executable, "script.py", "study", "100000"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if "epoch 1" in line:
                break
        assert len(descendants(process.pid)) == 3
        family = descendants(process.pid)
        process.send_signal(number)
        process.wait(timeout=30)
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in family if alive(pid)] == []
    # A search that was killed has left its own folder, for the next one to remove.
    left = [path.name for path in (tmp_path / "temporary").iterdir()]
    assert [name for name in left if number != signal.SIGKILL or not name.startswith(PREFIX)] == []


def descendants(pid):
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [each for child in children for each in descendants(child)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
