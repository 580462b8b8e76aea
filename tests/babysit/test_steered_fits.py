"""Whole fits that a person steers: what is asked for is done before the batch that comes, logged and answered."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback

from lightning_hp import Babysitter
from lightning_hp.babysit import inbox, log
from lightning_hp.babysit.mailbox import FOLDER, Answer, listens
from lightning_hp.babysit.nudge import send, wait
from lightning_hp.babysit.request import Change, Request

HALVE = Request("nudge", lr=Change(0.5, factor=True))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Every batch is looked at."""
    monkeypatch.setattr(inbox, "INTERVAL", 0.0)


class Person(Callback):
    """Asks before batches of the fit's first to last, and reads the answers when the fit is over."""

    def __init__(self, folder, asks):
        self.folder = folder
        self.asks = asks
        self.sent = []
        self.batches = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.sent += [send(self.folder, request) for request in self.asks.get(self.batches, [])]
        self.batches += 1

    def answers(self):
        return [wait(self.folder, sent, 0) for sent in self.sent]


@pytest.fixture
def asked(fit, scripted, tmp_path):
    """A fit of six epochs of three batches with a person in it."""

    def run(asks, babysitter=None, script=(1.0, 0.9, 0.8, 0.7, 0.6, 0.5), **arguments):
        person = Person(tmp_path / "run", asks)
        module = scripted(script)
        fit(module, person, babysitter or Babysitter("score"), **arguments)
        return SimpleNamespace(module=module, answers=person.answers(), records=log.read(tmp_path / "run" / log.FILE))

    return run


def test_a_nudge_changes_the_fit_before_the_batch_that_comes_and_lands_in_the_log(asked):
    done = asked({4: [Request("nudge", lr=Change(0.5, factor=True), momentum=Change(0.95))]})
    assert done.module.lrs == pytest.approx([0.1] * 4 + [0.05] * 14)
    assert done.module.momenta == pytest.approx([0.9] * 4 + [0.95] * 14)
    text = "asked for: nudge lr=x0.5 momentum=0.95: lr 0.1 -> 0.05, momentum 0.9 -> 0.95"
    assert done.answers == [Answer(True, 1, 4, text)]
    (record,) = [each for each in done.records if each.event == "request"]
    assert (record.epoch, record.step, record.batch, record.sentence()) == (1, 4, 4, text)


def test_at_an_epoch_it_comes_with_the_first_batch(asked):
    done = asked({4: [Request("nudge", at="epoch", lr=Change(0.2))]})
    assert done.module.lrs == pytest.approx([0.1] * 6 + [0.2] * 12)
    assert done.answers[0].step == 6


def test_what_the_babysitters_bounds_forbid_is_refused_and_changes_nothing(asked):
    lower, raise_ = Request("nudge", lr=Change(0.01)), Request("nudge", momentum=Change(0.98))
    done = asked({4: [lower, raise_]}, Babysitter("score", min_lr=0.05, max_momentum=0.95))
    assert [answer.done for answer in done.answers] == [False, False]
    assert "the Babysitter's min_lr is 0.05" in done.answers[0].text
    assert "the Babysitter's max_momentum is 0.95" in done.answers[1].text
    assert set(done.module.lrs) == {0.1}
    assert [each for each in done.records if each.event == "request"] == []


def test_a_rollback_brings_back_lr_and_momentum_of_the_snapshot(asked):
    nudged = Request("nudge", lr=Change(2.0, factor=True))
    done = asked({5: [nudged], 8: [Request("rollback")]}, script=(1.0, 2.0, 2.0, 2.0, 2.0, 2.0))
    assert done.module.lrs == pytest.approx([0.1] * 5 + [0.2] * 3 + [0.1] * 10)
    assert done.answers[1].text == "asked for: rollback: back to snapshot 'good', lr 0.2 -> 0.1"


def test_a_stop_ends_the_fit(asked):
    done = asked({7: [Request("stop")]})
    assert len(done.module.lrs) == 8
    assert done.answers == [Answer(True, 2, 7, "asked for: stop: stop")]


def test_requests_do_not_count_as_the_policys_interventions(asked):
    babysitter = Babysitter("score", patience=0, max_interventions=1)
    done = asked({2: [HALVE], 3: [HALVE], 4: [HALVE]}, babysitter, script=[1.0])
    assert babysitter.interventions == 1
    assert done.module.lrs[-1] == pytest.approx(0.1 * 0.5**3 * 0.2)


def test_a_paused_fit_stands_still_until_it_is_resumed(fit, scripted, tmp_path):
    folder, module, answers = tmp_path / "run", scripted((1.0,)), []

    class Pausing(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 4:
                sent = send(folder, Request("pause"))
                self.thread = threading.Thread(target=goes_on, args=(sent, trainer))
                self.thread.start()

    def goes_on(sent, trainer):
        answers.append(wait(folder, sent, None))
        for request in (HALVE, Request("resume")):
            steps.append(trainer.global_step)
            answers.append(wait(folder, send(folder, request), None))

    steps, pausing = [], Pausing()
    fit(module, pausing, Babysitter("score"))
    pausing.thread.join()
    assert steps == [4, 4]
    assert [(answer.done, answer.step) for answer in answers] == [(True, 4)] * 3
    assert module.lrs == pytest.approx([0.1] * 4 + [0.05] * 14)


def test_a_fit_that_fails_listens_no_more(fit, scripted, tmp_path):
    class Broken(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            assert listens(tmp_path / "run")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fit(scripted(), Broken(), Babysitter("score"))
    assert not listens(tmp_path / "run")
    assert not (tmp_path / "run" / FOLDER).exists()


def test_of_two_babysitters_in_a_fit_one_does_what_is_asked(fit, scripted, tmp_path, recwarn):
    person, module = Person(tmp_path / "run", {4: [HALVE]}), scripted((1.0,))
    fit(module, person, Babysitter("score"), Babysitter("train_loss"), epochs=3)
    assert module.lrs == pytest.approx([0.1] * 4 + [0.05] * 5)
    assert [answer.done for answer in person.answers()] == [True]
    assert not [each for each in recwarn if "takes no requests" in str(each.message)]


def test_a_resumed_fit_repeats_a_nudge_that_came_after_its_checkpoint(fit, scripted, tmp_path):
    class Saving(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 3:
                trainer.save_checkpoint(tmp_path / "early.ckpt")

    person = Person(tmp_path / "run", {5: [HALVE]})
    whole = scripted((1.0,))
    fit(whole, person, Babysitter("score"), Saving(), epochs=2)
    resumed = scripted((1.0,))
    fit(resumed, Babysitter("score"), epochs=2, ckpt_path=tmp_path / "early.ckpt")
    assert resumed.lrs == whole.lrs[3:] == pytest.approx([0.1, 0.1, 0.05])
    records = [json.loads(line) for line in (tmp_path / "run" / log.FILE).read_text().splitlines()]
    assert [each["batch"] for each in records if each["event"] == "request"] == [5]
