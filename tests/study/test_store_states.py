"""Whatever a search does, and wherever it is cut off, its study is what was recorded: a state machine against plain dicts."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lightning_hp import Choice, ConfigError, Log, Space, StorageError, Study, Trial
from lightning_hp.study import Recorder
from lightning_hp.study import recorder as recorder_module
from lightning_hp.study.records import repair
from lightning_hp.trial import FINISHED, EpochEnded, Finished, Grouped, Outcome, Started, Unfused, add_epoch, trial_folder

SPACE = Space({"lr": Log(0.1, 1.0), "cell": Choice(dict, list)})
ASKED = {"monitor": "val_acc", "mode": "max", "trials": 3, "seed": 0, "space": SPACE.describe()}
INTERRUPTED = "interrupted: the same search goes on with it"


class StudyMachine(RuleBasedStateMachine):
    """A search's events, restarts and crashes in any order. The model is what the study's trials are, by number."""

    def __init__(self):
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.roots = 0
        self.root = self.base / "0"
        self.asked = dict(ASKED)
        self.model: dict[int, Trial] = {}
        self.recorder = None
        # Every event is written at once, so that onlookers see what the model says.
        self.interval, recorder_module.UPDATE_INTERVAL = recorder_module.UPDATE_INTERVAL, 0.0

    def teardown(self):
        if self.recorder is not None:
            self.recorder.close()
        recorder_module.UPDATE_INTERVAL = self.interval
        shutil.rmtree(self.base)

    # What the model knows

    def running(self):
        return sorted(number for number, trial in self.model.items() if trial.state == "running")

    def finished(self):
        return {number: trial for number, trial in self.model.items() if trial.state in FINISHED}

    def hopeless(self):
        return all(trial.state == "failed" for trial in self.finished().values())

    def interrupt(self):
        for number in self.running():
            self.model[number] = replace(self.model[number], state="waiting", reason=INTERRUPTED)

    def forget_failures(self):
        if self.hopeless():
            self.model = {number: trial for number, trial in self.model.items() if trial.state != "failed"}

    # What a search does

    @initialize()
    def begin(self):
        self.open()

    @precondition(lambda self: self.recorder is None)
    @rule()
    def open(self):
        self.recorder = Recorder(self.root, self.asked, frozenset({"trials"}), SPACE)
        self.forget_failures()

    @precondition(lambda self: self.recorder is not None)
    @rule(data=st.data())
    def start(self, data):
        # As a search does: the lowest number that is neither finished nor running, or one after it.
        free = [number for number in range(len(self.model) + 2) if number not in {*self.finished(), *self.running()}]
        number = data.draw(st.sampled_from(free[:2]))
        trial = Trial(number, {"lr": 0.1 + 0.01 * number, "cell": dict}, seed=number)
        self.recorder.record(Started(trial, time=1.0))
        self.model[number] = replace(trial, state="running", metrics={})

    @precondition(lambda self: self.recorder is not None and self.running())
    @rule(data=st.data(), logged=st.dictionaries(st.sampled_from(["val_acc", "loss"]), st.floats(allow_nan=False)))
    def epoch(self, data, logged):
        number = data.draw(st.sampled_from(self.running()))
        trial = self.model[number]
        self.recorder.record(EpochEnded(number, trial.epochs, logged))
        metrics = {name: list(values) for name, values in trial.metrics.items()}
        add_epoch(metrics, trial.epochs, logged)
        self.model[number] = replace(trial, epochs=trial.epochs + 1, metrics=metrics)

    @precondition(lambda self: self.recorder is not None and self.running())
    @rule(data=st.data(), state=st.sampled_from(FINISHED), value=st.floats(allow_nan=False), saved=st.booleans())
    def finish(self, data, state, value, saved):
        number = data.draw(st.sampled_from(self.running()))
        trial = self.model[number]
        checkpoint = trial_folder(self.root, number) / "best.ckpt"
        if saved:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.touch()
        outcome = Outcome(
            state,
            value=value if state in ("complete", "pruned") else None,
            epochs=trial.epochs,
            metrics=trial.metrics,
            reason=None if state == "complete" else f"it {state}",
            traceback="a traceback" if state == "failed" else None,
            checkpoint=checkpoint if saved else None,
        )
        self.recorder.record(Finished(number, outcome, time=2.0))
        self.model[number] = outcome.applied_to(trial)

    @precondition(lambda self: self.recorder is not None and self.running())
    @rule(data=st.data(), refused=st.booleans())
    def give_back(self, data, refused):
        number = data.draw(st.sampled_from(self.running()))
        event = Unfused((number,), "manual optimization") if refused else Grouped({number: "one"}, (number,))
        self.recorder.record(event)
        self.model[number] = replace(self.model[number], state="waiting")

    @precondition(lambda self: self.recorder is not None)
    @rule()
    def close(self):
        self.recorder.close()
        self.recorder = None
        self.interrupt()

    @precondition(lambda self: self.recorder is not None)
    @rule()
    def crash(self):
        # What is in the folder now is what a kill would have left. The search goes on in the copy.
        self.roots += 1
        copy = self.base / str(self.roots)
        shutil.copytree(self.root, copy)
        self.recorder.close()
        self.recorder = None
        moved = {number: trial.checkpoint for number, trial in self.model.items() if trial.checkpoint is not None}
        for number, checkpoint in moved.items():
            self.model[number] = replace(self.model[number], checkpoint=copy / checkpoint.relative_to(self.root))
        self.root = copy
        self.open()
        self.interrupt()

    @precondition(lambda self: self.recorder is None)
    @rule(more=st.integers(1, 5))
    def ask_for_more(self, more):
        self.asked = {**self.asked, "trials": self.asked["trials"] + more}
        self.open()

    @precondition(lambda self: self.recorder is None)
    @rule()
    def ask_for_another_seed(self):
        changed = {**self.asked, "seed": self.asked["seed"] + 1}
        if self.hopeless():
            # No trial's result holds it to what it was.
            self.asked, self.model = changed, {}
            self.open()
            assert not list(self.root.glob("trials/*/trial.json"))
        else:
            with pytest.raises(ConfigError, match="seed was"):
                Recorder(self.root, changed, frozenset({"trials"}), SPACE)

    @precondition(lambda self: self.recorder is not None)
    @rule()
    def a_second_search_comes(self):
        with pytest.raises(StorageError, match="is in use by another search"):
            Recorder(self.root, self.asked, frozenset({"trials"}), SPACE)

    # What must hold

    @rule()
    def a_repair_gives_the_finished_trials(self):
        copy = self.base / "repaired"
        shutil.copytree(self.root, copy)
        try:
            (copy / "study.db").write_bytes(b"damaged")
            if not self.finished():
                with pytest.raises(ConfigError, match="no record of a finished trial"):
                    repair(copy)
                return
            assert repair(copy).unreadable == []
            repaired = {trial.number: trial for trial in Study(copy, SPACE).trials}
            assert {number: moved(trial, copy, self.root) for number, trial in repaired.items()} == self.finished()
            assert Study(copy).asked.items() >= {"seed": self.asked["seed"]}.items()
        finally:
            shutil.rmtree(copy)

    @invariant()
    def the_study_is_what_was_recorded(self):
        study = Study(self.root, SPACE)
        assert {trial.number: trial for trial in study.trials} == self.model
        assert study.asked == self.asked
        complete = [trial for trial in self.model.values() if trial.state == "complete"]
        assert study.leaderboard() == sorted(complete, key=lambda trial: (-trial.value, trial.number))


def moved(trial, before, after):
    return trial if trial.checkpoint is None else replace(trial, checkpoint=after / trial.checkpoint.relative_to(before))


TestStudyMachine = StudyMachine.TestCase
TestStudyMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
