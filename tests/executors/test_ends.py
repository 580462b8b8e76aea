"""How worker processes begin and end: not before all has been heard, and not much later."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import threading
import time
import warnings
import weakref
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from lightning_hp import Trial
from lightning_hp.executors import processes as processes_module
from lightning_hp.executors.launch import CAN_FORK, Spawner
from lightning_hp.executors.place import Place
from lightning_hp.executors.processes import Processes
from lightning_hp.trial import EpochEnded, Finished, Grouped, Job, Outcome, Printed

ONE = [Place((), threads=1)]


# Where there is a fork, the other way is taken only if that is not safe.
@pytest.fixture(params=["forked", pytest.param("spawned", marks=pytest.mark.slow)] if CAN_FORK else ["spawned"])
def executor(request):
    return Processes(ONE, fork=request.param == "forked")


def events(executor, work, count=1):
    jobs = iter([Job((Trial(number, {}, 0),)) for number in range(count)])
    heard = []
    executor.run(lambda: next(jobs, None), work, heard.append)
    return heard


def finish(job, emit):
    emit(Finished(job.trials[0].number, Outcome("complete"), 0.0))


def test_a_worker_that_does_not_end_when_its_work_is_over_is_killed_and_that_is_told(executor, monkeypatch):
    monkeypatch.setattr(processes_module, "GRACE", 1.0)

    def work(job, emit):
        threading.Thread(target=time.sleep, args=(1000,)).start()
        finish(job, emit)

    heard = events(executor, work)
    assert [event.number for event in heard if isinstance(event, Finished)] == [0]
    told = "the worker had done its work and did not end for 1 seconds: killed"
    assert [event for event in heard if isinstance(event, Printed)] == [Printed((0,), told)]


def test_of_a_jobs_time_those_keep_their_share_that_stay_and_only_these_end_with_it(monkeypatch):
    given = []
    allow = processes_module._Team.allow

    def noted(team, seconds):
        given.append(seconds)
        allow(team, seconds)

    def work(job, emit):
        emit(Grouped({0: "one", 1: "another", 2: "one"}, (1,)))
        os._exit(3)

    monkeypatch.setattr(processes_module._Team, "allow", noted)
    jobs = iter([Job(tuple(Trial(number, {}, 0) for number in range(3)))])
    heard = []
    Processes(ONE, trial_timeout=100.0).run(lambda: next(jobs, None), work, heard.append)
    assert given[:2] == [300.0, 200.0]
    assert [event.number for event in heard if isinstance(event, Finished)] == [0, 2]


@pytest.mark.slow
def test_a_worker_whose_code_cannot_be_loaded_and_whose_end_hangs_is_killed(executor, monkeypatch):
    monkeypatch.setattr(processes_module, "GRACE", 1.0)

    class Work:
        def __call__(self, job, emit):
            raise NotImplementedError

        def __reduce__(self):
            return hang_at_the_end, ()

    def hang_at_the_end():
        threading.Thread(target=time.sleep, args=(1000,)).start()
        raise ImportError("not there")

    (finished,) = [event for event in events(executor, Work()) if isinstance(event, Finished)]
    assert finished.outcome.reason == "ImportError: not there"


def test_all_that_a_dying_worker_has_printed_is_heard_before_its_end(executor):
    def work(job, emit):
        # As much as the pipe holds, so that it can die at once.
        os.write(2, b"x\n" * 30_000 + b"last words\n")
        os._exit(3)

    *printed, finished = events(executor, work)
    assert [event.line for event in printed] == ["x"] * 30_000 + ["last words"]
    assert finished.outcome.reason == "the worker process ended by itself with exit code 3; last words"


@pytest.mark.slow
def test_lines_with_nothing_in_them_are_not_passed_on(executor):
    def work(job, emit):
        os.write(2, b"\n  \nfirst\n\r\n\nsecond\n\n")
        finish(job, emit)

    assert [event.line for event in events(executor, work) if isinstance(event, Printed)] == ["first", "second"]


@pytest.mark.slow
def test_a_warning_is_told_as_one_that_is_to_be_shown_once(executor):
    def work(job, emit):
        warnings.warn("it is old", FutureWarning, stacklevel=1)
        print("hello")
        finish(job, emit)

    printed = [event for event in events(executor, work, count=2) if isinstance(event, Printed)]
    assert [event.line for event in printed if not event.once] == ["hello", "hello"]
    warned = [event for event in printed if event.once]
    assert {event.numbers for event in warned} == {(0,), (1,)}
    assert len({event.line for event in warned}) == 1
    assert warned[0].line.endswith("FutureWarning: it is old")


@pytest.mark.skipif(not CAN_FORK, reason="loaders' workers are not forked here")
def test_what_a_loaders_worker_warns_of_does_not_get_among_the_messages(executor):
    class Warns(Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, index):
            warnings.warn(f"sample {index}", stacklevel=1)
            return index

    def work(job, emit):
        loader = DataLoader(Warns(), num_workers=2, multiprocessing_context="fork")
        for epoch, _ in enumerate(loader):
            emit(EpochEnded(job.trials[0].number, epoch, {}))
        finish(job, emit)

    heard = events(executor, work)
    assert [event.epoch for event in heard if isinstance(event, EpochEnded)] == list(range(40))
    assert sum("sample" in event.line and "Warning" in event.line for event in heard if isinstance(event, Printed)) == 40


def talk(told, count):
    """Work that tells of many epochs, and by the size of a file how many it has told."""

    def work(job, emit):
        for epoch in range(count):
            emit(EpochEnded(job.trials[0].number, epoch, {}))
            if epoch % 100 == 99:
                os.truncate(told, epoch + 1)
        finish(job, emit)

    told.touch()
    return work


@pytest.mark.slow
def test_a_worker_waits_where_the_search_is_slow_to_listen_and_nothing_is_missed(executor, tmp_path, monkeypatch):
    monkeypatch.setattr(processes_module, "MOST_WAITING", 10)
    count, told = 20_000, tmp_path / "told"
    heard, lead = [], []

    def emit(event):
        before = -1
        while not heard and ((size := told.stat().st_size) != before or not size):
            # Until no more is told.
            lead[:] = [before := size]
            time.sleep(0.5)
        heard.append(event)

    jobs = iter([Job((Trial(0, {}, 0),))])
    executor.run(lambda: next(jobs, None), talk(told, count), emit)
    assert 0 < lead[0] < count / 2
    assert [event.epoch for event in heard[:-1]] == list(range(count))


@pytest.mark.slow
def test_who_waits_to_tell_a_search_that_has_ended_goes_on(executor, tmp_path, monkeypatch):
    monkeypatch.setattr(processes_module, "MOST_WAITING", 10)
    before = set(threading.enumerate())

    def emit(event):
        raise LookupError("enough")

    jobs = iter([Job((Trial(0, {}, 0),))])
    with pytest.raises(LookupError, match="enough"):
        executor.run(lambda: next(jobs, None), talk(tmp_path / "told", 20_000), emit)
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def test_a_process_that_has_ended_is_forgotten(tmp_path):
    with Spawner(pickle.dumps(finish), tmp_path) as spawner:
        first = spawner.start()
        first.kill()
        first.wait()
        first.close()
        first.output.close()
        seen = weakref.ref(first)
        del first
        second = spawner.start()
        gc.collect()
        assert seen() is None
        second.close()
        second.output.close()


def test_nothing_is_left_open(executor):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        events(executor, finish)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="nothing is forked here")
def test_a_server_in_which_the_users_code_has_started_threads_of_its_own_kind_is_not_forked(tmp_path):
    class Work:
        def __call__(self, job, emit):
            raise NotImplementedError

        def __reduce__(self):
            return loaded, ()

    def loaded():
        import _thread

        def pool():
            # As a library's threads, which Python does not know of.
            name = ctypes.create_string_buffer(b"a-pool-0")
            ctypes.CDLL(None).prctl(15, name, 0, 0, 0)
            time.sleep(1000)

        _thread.start_new_thread(pool, ())
        time.sleep(0.5)
        with (tmp_path / "loaded").open("a") as file:
            file.write(f"{os.getpid()} {os.getppid()}\n")
        return finish

    heard = events(Processes(ONE), Work(), count=2)
    assert [event.outcome.state for event in heard] == ["complete"] * 2
    # Once in the server that then ended, and once in each worker of the next.
    lines = [line.split() for line in Path(tmp_path / "loaded").read_text().splitlines()]
    assert len(lines) == 3
    assert lines[1][1] == lines[2][1] != lines[0][0]
