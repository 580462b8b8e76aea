"""``lightning-hp nudge``, ``rollback``, ``pause``, ``resume``, ``stop``: on what runs, and where nothing does."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

import pytest
from lightning.pytorch import Callback

from examples.digits import DigitsData, LitDigits
from lightning_hp import Babysitter, Log, ReverseLog, SearchLoop
from lightning_hp.babysit import inbox, log
from lightning_hp.babysit.inbox import Requests
from lightning_hp.babysit.mailbox import FOLDER, LOCK
from lightning_hp.cli import main
from lightning_hp.study.store import Store
from lightning_hp.trial import Trial
from tests.babysit.test_inbox import trainer_of

SPACE = {"lr": Log(0.01, 1.0), "momentum": ReverseLog(0.8, 0.95)}


class Steering(Callback):
    """Has another thread give commands from the third batch on, and ends the fit when they have all come back."""

    commands: ClassVar[tuple[tuple[str, ...], ...]] = ()
    codes: ClassVar[list[int]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 2:
            Steering.codes = []
            self.thread = threading.Thread(target=self.give)
            self.thread.start()
        trainer.should_stop = trainer.global_step > 2 and not self.thread.is_alive()

    def give(self):
        for command in Steering.commands:
            try:
                Steering.codes.append(main(command))
            except SystemExit as exit_:
                Steering.codes.append(exit_.code)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(inbox, "INTERVAL", 0.0)


@pytest.fixture
def steered(tmp_path, monkeypatch, capsys):
    """A search of one trial while commands are given; gives their codes, what they have said, and the records."""
    monkeypatch.chdir(tmp_path)

    def run(*commands, **settings):
        monkeypatch.setattr(Steering, "commands", commands)
        arguments = {"max_epochs": 10_000, "limit_train_batches": 4, "limit_val_batches": 1, "callbacks": Steering}
        loop = SearchLoop(
            LitDigits,
            space=SPACE,
            data=lambda: DigitsData(64),
            monitor="val_acc",
            mode="max",
            trials=1,
            trainer={"accelerator": "cpu", **arguments},
            executor="inline",
            root_dir="study",
            **{"babysit": Babysitter(patience=10_000), **settings},
        )
        loop.run()
        captured = capsys.readouterr()
        records = [each for each in log.read(Path("study/trials/000000") / log.FILE) if each.event == "request"]
        lines = [line for line in captured.out.splitlines() if line.startswith("trial 0: done in")]
        errors = [line for line in captured.err.splitlines() if line.startswith("lightning-hp: ")]
        return list(Steering.codes), lines, errors, records

    return run


def test_a_running_trial_is_nudged_and_says_what_was_before_and_is_now(steered):
    codes, (line, later), errors, records = steered(
        ("nudge", "study", "0", "lr=x0.9", "momentum=x0.9"), ("nudge", "study", "0", "lr=0.05", "--at", "epoch")
    )
    assert (codes, errors) == ([0, 0], [])
    first, second = records
    assert line == f"trial 0: done in epoch {first.epoch} after step {first.step}: {first.sentence()}"
    assert later == f"trial 0: done in epoch {second.epoch} after step {second.step}: {second.sentence()}"
    assert first.after[0].lr == pytest.approx(first.before[0].lr * 0.9)
    assert second.after[0].lr == pytest.approx(0.05)
    assert second.batch % 4 == 0


def test_what_the_space_does_not_hold_is_refused_but_for_those_who_insist(steered):
    codes, lines, errors, records = steered(
        ("nudge", "study", "0", "lr=7"),
        ("nudge", "study", "0", "momentum=0.96"),
        ("nudge", "study", "0", "momentum=0.96", "--anyway"),
        ("nudge", "study", "0", "momentum=0.995", "--anyway"),
    )
    assert codes == [2, 2, 0, 2]
    assert "trial 0: refused: lr would be 7, and the study searches lr from 0.01 to 1; --anyway goes beyond" in errors[0]
    assert "the study searches momentum from 0.8 to 0.95" in errors[1]
    assert "the Babysitter's max_momentum is 0.99" in errors[2]
    assert len(lines) == len(records) == 1


def test_a_trial_is_paused_resumed_taken_back_and_stopped(steered):
    codes, lines, errors, records = steered(
        ("pause", "study", "0"),
        ("pause", "study", "0"),
        ("resume", "study", "0"),
        ("rollback", "study", "0"),
        ("stop", "study", "0", "--at", "epoch"),
    )
    assert codes == [0, 2, 0, 0, 0]
    assert errors == ["lightning-hp: trial 0: refused: the fit is paused"]
    assert [each.detail["request"]["kind"] for each in records] == ["pause", "resume", "rollback", "stop"]
    assert records[0].batch == records[1].batch
    assert records[-1].batch % 4 == 0
    assert lines[-1].endswith("asked for: stop: stop")


def test_a_trial_of_a_search_without_a_babysitter_takes_no_requests(steered):
    codes, _, errors, _ = steered(("stop", "study", "0"), babysit=False)
    assert codes == [2]
    assert errors == [
        "lightning-hp: the search in study runs without a babysitter, which is who takes requests: search with --babysit"
    ]


@pytest.mark.slow
def test_a_trial_in_a_process_of_its_own_is_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loop = SearchLoop(
        LitDigits,
        space={"lr": Log(0.01, 1.0)},
        data=lambda: DigitsData(64),
        monitor="val_acc",
        mode="max",
        trials=1,
        trainer={"accelerator": "cpu", "max_epochs": 5_000, "limit_train_batches": 1, "limit_val_batches": 1},
        executor="processes",
        workers=1,
        babysit=Babysitter(patience=10_000),
        root_dir="study",
    )
    ended = threading.Event()

    def stop():
        # Until the trial trains the command says that it does not.
        while main(["stop", "study", "0"]) != 0 and not ended.wait(0.05):
            pass

    thread = threading.Thread(target=stop)
    thread.start()
    study = loop.run()
    ended.set()
    thread.join()
    assert study.trials[0].state == "complete"
    assert 0 < study.trials[0].epochs < 5_000


def test_a_single_fit_is_nudged_by_its_folder(run, config, monkeypatch):
    commands = (("nudge", "one", "lr=x0.5"), ("nudge", "one/version_0", "lr=x0.5"), ("stop", "one", "3"))
    monkeypatch.setattr(Steering, "commands", commands)
    config["trainer"] |= {"max_epochs": 10_000, "callbacks": [{"class_path": "tests.cli.test_nudge.Steering"}]}
    config["search"]["babysit"] = {"patience": 10_000}
    result = run(config, "babysit", "config.yaml", "--root", "one")
    assert result.code == 0
    assert Steering.codes == [0, 0, 2]
    assert "the fit: done in epoch " in result.out
    assert "lr 0.1 -> 0.05" in result.out
    assert "lr 0.05 -> 0.025" in result.out
    assert "one holds no study but a single fit: leave the number 3 out" in result.err


@pytest.fixture
def study(tmp_path):
    """A study whose trial 0 is complete, and 1 and 2 are said to run."""
    (tmp_path / "study").mkdir()
    store = Store(tmp_path / "study", create=True)
    store.ask({"babysit": {"patience": 3}, "space": {}})
    states = ["complete", "running", "running"]
    store.write_all([(Trial(number, {}, seed=0, state=state), 0.0, None) for number, state in enumerate(states)])
    store.close()
    return tmp_path / "study"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["stop", "nowhere", "0"], "nowhere holds no study: study.db is missing"),
        (["stop", "nowhere"], "no babysat fit trains in nowhere now, nor in a version_N of it"),
        (["stop", "study"], "study holds a study: say which trial, by its number; running: 1, 2"),
        (["stop", "study", "7"], "study has no trial 7 yet; running: 1, 2"),
        (["stop", "study", "0"], "trial 0 is complete, and only one that runs takes requests; running: 1, 2"),
        (["stop", "study", "1"], "trial 1 does not train now"),
        (["stop", "study", "1", "2"], "stop needs DIR and a trial's number, got '2' besides"),
        (["nudge", "study", "1"], "there is nothing to change"),
        (["nudge", "study", "1", "rate=3"], "rate is not one of lr, momentum"),
        (["nudge", "study", "1", "lr=fast"], "lr=fast needs a value, such as lr=0.01, or a factor, such as lr=x0.5"),
    ],
)
def test_what_cannot_be_is_one_clear_line(run, study, arguments, told):
    result = run(None, *arguments)
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert line.startswith("lightning-hp: ")
    assert told in line


def test_flags_that_are_none_are_told(run):
    for arguments, told in [
        (["stop", "study", "1", "--at", "once"], "invalid choice: 'once'"),
        (["resume", "study", "1", "--at", "step"], "unknown argument --at"),
        (["nudge", "study", "1", "lr=1", "--anyways"], "did you mean '--anyway'?"),
        (["nudge", "study", "1", "lr=1", "--timeout", "soon"], "invalid float value"),
        (["pause"], "the following arguments are required: DIR; see"),
    ]:
        result = run(None, *arguments)
        assert result.code == 2
        assert told in result.err


@pytest.fixture
def deaf(study):
    """Trial 1 of the study, whose fit lives and comes to no batch."""
    trainer = trainer_of()
    folder = study / "trials" / "000001"
    requests = Requests(trainer, folder)
    yield folder, trainer, requests
    requests.close(trainer)


def test_where_no_answer_comes_in_time_the_request_stands(run, deaf):
    folder, trainer, requests = deaf
    result = run(None, "stop", "study", "1", "--timeout", "0")
    (path,) = (folder / FOLDER).iterdir()
    assert result.code == 1
    assert result.out.startswith("trial 1: no answer yet. The request stands, and is carried out at the fit's next batch")
    assert result.out.splitlines()[1].endswith(f"rm {path.relative_to(Path.cwd())}")
    assert [each.kind for each in requests.due(trainer, 5, 5)] == ["stop"]


def test_a_timeout_that_is_none_is_told_and_nothing_is_asked(run, deaf):
    result = run(None, "stop", "study", "1", "--timeout", "-1")
    assert (result.code, "--timeout needs seconds, at least 0, got -1" in result.err) == (2, True)
    assert not (deaf[0] / FOLDER).exists()


def test_ctrl_c_takes_the_request_back(run, deaf, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_hp.cli.nudge.wait", interrupted)
    result = run(None, "stop", "study", "1")
    assert (result.code, result.out) == (1, "trial 1: taken back, nothing was done\n")
    assert list((deaf[0] / FOLDER).iterdir()) == []


def test_of_several_fits_in_a_folder_one_is_to_be_named(run, tmp_path):
    trainer = trainer_of()
    both = [Requests(trainer, tmp_path / "runs" / f"version_{number}") for number in range(2)]
    result = run(None, "stop", "runs")
    assert result.code == 2
    assert "several fits train in runs: say which of runs/version_0, runs/version_1" in result.err
    for requests in both:
        requests.close(trainer)
    assert not (tmp_path / "runs/version_0" / LOCK).exists()
