"""A person's requests to a fit on another machine: as to one that trains here."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from lightning_hp.babysit.mailbox import FOLDER, LOCK, Answer, hold, let_go, listens, take
from lightning_hp.babysit.nudge import send, wait, withdraw
from lightning_hp.babysit.request import Request
from lightning_hp.executors.ray.wheels import Answered, Asked, Desk, Listens, Wheels
from lightning_hp.trial import trial_folder

DONE = Answer(True, 3, 90, "lr 0.1 -> 0.05")


class Machines:
    """That of the search, and one where trial 7 trains."""

    def __init__(self, folder):
        self.here, self.there = trial_folder(folder / "here", 7), trial_folder(folder / "there", 7)
        self.wheels, self.desk = Wheels(folder / "here"), Desk(folder / "there", [7])

    def begin(self):
        self.lock = hold(self.there)

    def end(self):
        let_go(self.there, self.lock, Answer(False, 5, 100, "the fit has ended"))

    def pass_on(self):
        """What the driver and the agent do, once each."""
        for told in self.desk.news(at_once=True):
            self.wheels.hear(told)
        for asked in self.wheels.asked([7, 8]):
            self.desk.put(asked)

    def answer(self):
        """What the fit does."""
        for id, text in take(self.there):
            assert Request.from_plain(json.loads(text)).kind == "rollback"
            answer = self.there / FOLDER / f"{id}.answer"
            answer.write_text(json.dumps(asdict(DONE)))
            answer.with_suffix(".taken").unlink()


@pytest.fixture
def machines(tmp_path):
    return Machines(tmp_path)


def test_a_trial_takes_requests_here_as_long_as_its_fit_does_there(machines):
    machines.pass_on()
    assert not listens(machines.here)
    machines.begin()
    machines.pass_on()
    assert listens(machines.here)
    machines.end()
    machines.pass_on()
    assert not listens(machines.here)
    assert list(machines.here.iterdir()) == []


def test_a_request_gets_there_and_its_answer_back(machines):
    machines.begin()
    machines.pass_on()
    request = send(machines.here, Request("rollback"))
    machines.pass_on()
    assert wait(machines.here, request, 0.0) is None
    machines.answer()
    machines.pass_on()
    assert wait(machines.here, request, 0.0) == DONE
    assert list((machines.here / FOLDER).iterdir()) == []
    assert list((machines.there / FOLDER).iterdir()) == []


def test_the_answers_of_a_fit_that_ends_at_once_come_before_its_end_is_told(machines):
    machines.begin()
    machines.pass_on()
    send(machines.here, Request("stop"))
    machines.pass_on()
    machines.end()
    assert [type(each) for each in machines.desk.news(at_once=True)] == [Answered, Listens]


def test_a_request_that_the_fit_came_no_more_to_is_refused_with_its_reason(machines):
    machines.begin()
    machines.pass_on()
    request = send(machines.here, Request("rollback"))
    machines.pass_on()
    machines.end()
    machines.pass_on()
    assert wait(machines.here, request, 0.0) == Answer(False, 5, 100, "the fit has ended")


def test_a_request_to_a_machine_that_is_lost_is_refused(machines):
    machines.begin()
    machines.pass_on()
    request = send(machines.here, Request("rollback"))
    machines.pass_on()
    later = send(machines.here, Request("rollback"))
    machines.wheels.end([7], "the worker on alpha was lost")
    for each in (request, later):
        assert wait(machines.here, each, 0.0) == Answer(False, 0, 0, "the worker on alpha was lost")
    assert not (machines.here / LOCK).exists()


def test_what_was_passed_on_cannot_be_taken_back(machines):
    machines.begin()
    machines.pass_on()
    one, other = send(machines.here, Request("rollback")), send(machines.here, Request("rollback"))
    assert withdraw(machines.here, one)
    machines.pass_on()
    assert not withdraw(machines.here, other)
    assert len(take(machines.there)) == 1


def test_an_answer_that_comes_too_late_is_dropped(machines):
    machines.begin()
    machines.pass_on()
    machines.wheels.hear(Answered(7, "gone", "{}"))
    machines.wheels.hear(Listens(7, True))
    assert not (machines.here / FOLDER).exists()


def test_a_file_that_is_no_request_is_for_the_fit_to_refuse(machines):
    machines.begin()
    machines.pass_on()
    (machines.here / FOLDER).mkdir()
    (machines.here / FOLDER / "1.request").write_bytes(b"\xff no request")
    assert machines.wheels.asked([7]) == [Asked(7, "1", "\ufffd no request")]


def test_it_looks_for_answers_once_in_a_while(machines):
    machines.begin()
    assert machines.desk.news(at_once=False) == [Listens(7, True)]
    machines.end()
    assert machines.desk.news(at_once=False) == []
    assert machines.desk.news(at_once=True) == [Listens(7, False)]
