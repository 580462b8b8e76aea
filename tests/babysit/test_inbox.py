"""Requests to a fit and its answers: the files between them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightning_hp.babysit import inbox, mailbox
from lightning_hp.babysit.inbox import Requests
from lightning_hp.babysit.mailbox import FOLDER, LOCK, Answer, listens
from lightning_hp.babysit.nudge import send, wait, withdraw
from lightning_hp.babysit.request import Change, Request

REPOSITORY = Path(__file__).parents[2]
HALVE = Request("nudge", lr=Change(0.5, factor=True))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Every batch is looked at."""
    monkeypatch.setattr(inbox, "INTERVAL", 0.0)


def trainer_of(rank=0, ranks=1, broadcast=lambda value: value):
    trainer = SimpleNamespace(
        is_global_zero=rank == 0,
        world_size=ranks,
        strategy=SimpleNamespace(broadcast=broadcast),
        current_epoch=3,
        global_step=40,
        received_sigterm=False,
    )
    trainer.fit_loop = SimpleNamespace(trainer=trainer)
    return trainer


@pytest.fixture
def trainer():
    return trainer_of()


@pytest.fixture
def requests(trainer, tmp_path):
    listening = Requests(trainer, tmp_path)
    yield listening
    listening.close(trainer)


def due(requests, trainer, batch=5, batch_idx=5):
    return [each.kind for each in requests.due(trainer, batch, batch_idx)]


def test_a_request_is_due_once_and_its_answer_reaches_who_asked(requests, trainer, tmp_path):
    sent = send(tmp_path, HALVE)
    (found,) = requests.due(trainer, 5, 5)
    assert found == sent
    assert wait(tmp_path, sent, 0) is None
    requests.done(trainer, found, "lr 0.1 -> 0.05")
    assert wait(tmp_path, sent, 0) == Answer(True, 3, 40, "lr 0.1 -> 0.05")
    assert due(requests, trainer) == []
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_refusal_reaches_who_asked(requests, trainer, tmp_path):
    sent = send(tmp_path, HALVE)
    (found,) = requests.due(trainer, 5, 5)
    requests.refuse(trainer, found, "too low")
    assert wait(tmp_path, sent, 0) == Answer(False, 3, 40, "too low")


def test_requests_come_in_the_order_in_which_they_were_made(requests, trainer, tmp_path):
    for kind in ("rollback", "stop", "rollback"):
        send(tmp_path, Request(kind))
    assert due(requests, trainer) == ["rollback", "stop", "rollback"]


def test_what_is_asked_for_an_epoch_waits_for_its_first_batch(requests, trainer, tmp_path):
    send(tmp_path, Request("rollback", at="epoch"))
    send(tmp_path, Request("stop"))
    assert due(requests, trainer, 5, 5) == ["stop"]
    assert due(requests, trainer, 6, 6) == []
    assert due(requests, trainer, 7, 0) == ["rollback"]


def test_between_two_looks_a_batch_costs_no_look(requests, trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(inbox, "INTERVAL", 1e9)
    assert due(requests, trainer) == []
    send(tmp_path, Request("stop"))
    assert due(requests, trainer) == []


def test_a_request_that_is_taken_back_in_time_is_not_carried_out(requests, trainer, tmp_path):
    for at, batch_idx in [("step", 5), ("epoch", 0)]:
        sent = send(tmp_path, Request("stop", at=at))
        if at == "epoch":
            assert due(requests, trainer) == []
        assert withdraw(tmp_path, sent)
        assert due(requests, trainer, 9, batch_idx) == []
    sent = send(tmp_path, Request("stop"))
    assert due(requests, trainer) == ["stop"]
    assert not withdraw(tmp_path, sent)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": "explode", "at": "step"}', "[" * 50_000, "x" * 200_000])
def test_a_file_that_is_no_request_is_refused_and_hurts_nobody(requests, trainer, tmp_path, text):
    path = tmp_path / FOLDER / "17.request"
    path.parent.mkdir()
    path.write_text(text)
    assert due(requests, trainer) == []
    answer = wait(tmp_path, Request("stop", id="17"), 0)
    assert not answer.done
    assert not path.exists()


def test_a_folder_that_vanishes_or_takes_no_answer_hurts_nobody(requests, trainer, tmp_path):
    send(tmp_path, HALVE)
    (found,) = requests.due(trainer, 5, 5)
    (tmp_path / FOLDER).rename(tmp_path / "away")
    requests.done(trainer, found, "done")
    assert due(requests, trainer) == []


def test_it_is_known_who_listens(trainer, tmp_path):
    assert not listens(tmp_path)
    requests = Requests(trainer, tmp_path)
    assert listens(tmp_path)
    requests.close(trainer)
    assert not listens(tmp_path)
    assert list(tmp_path.iterdir()) == []
    requests.close(trainer)


def test_a_second_fit_in_one_folder_trains_without_requests(requests, trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(mailbox, "_LOCK_TIMEOUT", 0.0)
    second = Requests(trainer, tmp_path)
    assert "another fit's" in second.problem
    sent = send(tmp_path, HALVE)
    assert due(second, trainer) == []
    second.close(trainer)
    assert listens(tmp_path)
    assert due(requests, trainer) == ["nudge"]
    assert wait(tmp_path, sent, 0) is None


def test_a_fit_whose_folder_cannot_be_made_trains_without_requests(trainer, tmp_path):
    (tmp_path / LOCK).mkdir()
    requests = Requests(trainer, tmp_path)
    assert "can't be made" in requests.problem
    assert due(requests, trainer) == []
    requests.close(trainer)


def test_a_fit_that_ends_refuses_what_it_has_not_come_to(requests, trainer, tmp_path):
    unread, waiting = send(tmp_path, HALVE), send(tmp_path, Request("stop", at="epoch"))
    assert due(requests, trainer) == ["nudge"]
    requests.close(trainer)
    for sent in (unread, waiting):
        assert wait(tmp_path, sent, 0).text == "the fit has ended before it came to this"
    assert not (tmp_path / FOLDER).exists()


def test_what_was_asked_of_a_fit_that_has_ended_is_withdrawn(tmp_path):
    sent = send(tmp_path, HALVE)
    answer = wait(tmp_path, sent, None)
    assert (answer.done, "has ended, or its process has died" in answer.text) == (False, True)
    assert not (tmp_path / FOLDER).exists()


KILLED = """
import sys
from pathlib import Path
from types import SimpleNamespace
from lightning_hp.babysit.inbox import Requests
strategy = SimpleNamespace(broadcast=lambda value: value)
requests = Requests(SimpleNamespace(is_global_zero=True, world_size=1, strategy=strategy), Path(sys.argv[1]))
assert "torch" not in sys.modules
print("listens", flush=True)
sys.stdin.read()
"""


def test_a_fit_that_was_killed_listens_no_more_and_its_resumed_self_refuses_what_it_was_asked(trainer, tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "listens\n"
    assert listens(tmp_path)
    sent = send(tmp_path, HALVE)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not listens(tmp_path)
    requests = Requests(trainer, tmp_path)
    assert due(requests, trainer) == []
    assert "the fit was interrupted before it came to this" in wait(tmp_path, sent, 0).text
    requests.close(trainer)


def test_a_resumed_fit_makes_again_what_was_done_after_its_checkpoint_at_the_same_places(trainer, tmp_path):
    again = [(7, HALVE), (9, Request("pause")), (9, Request("rollback"))]
    requests = Requests(trainer, tmp_path, again)
    found = [due(requests, trainer, batch, batch) for batch in (6, 7, 8, 9, 10)]
    assert found == [[], ["nudge"], [], ["rollback"], []]
    requests.close(trainer)


def test_a_paused_fit_goes_on_with_requests_until_it_is_resumed(requests, trainer, tmp_path):
    send(tmp_path, Request("pause"))
    seen = []
    coming = {"pause": HALVE, "nudge": Request("pause"), "again": Request("resume")}
    for request in requests.due(trainer, 5, 5):
        seen.append((request.kind, requests.paused))
        requests.done(trainer, request, "done")
        if request.kind in coming:
            sent = send(tmp_path, coming[request.kind])
        if request.kind == "nudge":
            # The second pause is refused, and never comes here.
            twice = sent
            send(tmp_path, coming["again"])
    assert seen == [("pause", False), ("nudge", True), ("resume", True)]
    assert wait(tmp_path, twice, 0).text == "the fit is paused"
    assert not requests.paused


def test_a_fit_that_is_not_paused_is_not_resumed(requests, trainer, tmp_path):
    sent = send(tmp_path, Request("resume"))
    assert due(requests, trainer) == []
    assert wait(tmp_path, sent, 0) == Answer(False, 3, 40, "the fit is not paused")


@pytest.mark.parametrize("how", ["stop", "sigterm"])
def test_a_paused_fit_that_is_to_end_goes_on_to_do_so(requests, trainer, tmp_path, how):
    send(tmp_path, Request("pause"))
    for request in requests.due(trainer, 5, 5):
        requests.done(trainer, request, "done")
        if request.kind == "pause" and how == "stop":
            send(tmp_path, Request("stop"))
        trainer.received_sigterm = how == "sigterm"
    assert not requests.paused


def test_several_processes_do_the_same_at_the_same_batches_and_speak_equally_often(tmp_path):
    said = []
    first = trainer_of(0, 2, lambda value: said.append(value) or value)
    second = trainer_of(1, 2, lambda value: said.pop(0))
    both = [(first, Requests(first, tmp_path)), (second, Requests(second, tmp_path))]
    plan = {3: HALVE, 8: Request("pause"), 15: Request("stop", at="epoch")}
    done = []
    for batch in range(30):
        if batch in plan:
            send(tmp_path, plan[batch])
        seen = []
        for trainer, requests in both:
            kinds = []
            for request in requests.due(trainer, batch, batch % 10):
                kinds.append(request.kind)
                requests.done(trainer, request, "done")
                if trainer is first and request.kind == "pause":
                    send(tmp_path, Request("resume"))
            seen.append(kinds)
        assert seen[0] == seen[1]
        assert said == []
        done += seen[0]
    assert done == ["nudge", "pause", "resume", "stop"]
    for trainer, requests in both:
        requests.close(trainer)


@pytest.mark.parametrize(("seconds", "between"), [(1.0, [1, 1, 1]), (0.01, [25, 25, 25]), (1e-6, [100, 100, 100])])
def test_several_processes_look_about_as_often_as_one_and_never_seldom(tmp_path, monkeypatch, seconds, between):
    monkeypatch.setattr(inbox, "INTERVAL", 0.25)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(inbox, "time", SimpleNamespace(monotonic=lambda: clock.now))
    said = []
    trainer = trainer_of(0, 2, lambda value: said.append(value) or value)
    requests, looks = Requests(trainer, tmp_path), []
    for batch in range(1, 1000):
        clock.now += seconds
        said.clear()
        assert due(requests, trainer, batch, batch) == []
        looks += [batch] if said else []
    assert [after - before for before, after in zip(looks[-4:], looks[-3:], strict=False)] == between
    requests.close(trainer)
