"""An interrupted fused job goes on from its checkpoints, together or each trial alone, and ends as if it had not been."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.optim import lr_scheduler

from lightning_hp import Babysitter, Study
from lightning_hp.attempts import read_circumstances
from lightning_hp.fit.attempt import begin
from lightning_hp.fit.checkpoints import BEST, LAST, resumable
from lightning_hp.fit.fused import saving
from lightning_hp.fit.together import cut_out
from lightning_hp.trial import EpochEnded, trial_folder
from tests.fit.fused.digits import SPACE, Classifier, assert_alike, loaders, recipe_of, run, trained, trials_of, weights

EPOCHS = 5
# Four trials that train as one, in a search that may be interrupted.
TOGETHER = {
    "space": SPACE,
    "trials": 4,
    "monitor": "val_loss",
    "mode": "min",
    "data": loaders,
    "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu"},
    "fuse": "always",
}


@pytest.fixture(autouse=True)
def _checkpoints_every_epoch(monkeypatch):
    monkeypatch.setattr(saving, "PARTS", 0)


class Module(Classifier):
    """Notes the epochs that it trains, and is interrupted in some."""

    # By lr.
    interrupts: dict[float, int] = {}  # noqa: RUF012
    begun: list[tuple[float, int]] = []  # noqa: RUF012

    def on_train_epoch_start(self):
        self.begun.append((self.lr, self.current_epoch))
        if self.current_epoch == self.interrupts.get(self.lr):
            raise KeyboardInterrupt


class Scheduled(Module):
    """A schedule of any kind."""

    schedule = None
    every = "epoch"

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = {"scheduler": type(self).schedule(optimizer), "interval": self.every, "monitor": "val_loss", "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def scheduled(schedule, every="epoch"):
    return type("Scheduled", (Scheduled,), {"schedule": staticmethod(schedule), "every": every})


def plateau(optimizer):
    return lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.2)


class Dampened(Module):
    """Dropout, of which each epoch's is seeded anew."""

    def make(self):
        self.dropout = nn.Dropout(0.2)
        return super().make()


CASES = {
    "sgd": (Module, "sgd", {}),
    "adamw": (Module, "adamw", {}),
    "rmsprop": (Module, "rmsprop", {}),
    "dropout": (Dampened, "adamw", {}),
    "StepLR": (scheduled(lambda o: lr_scheduler.StepLR(o, 1, 0.7)), "sgd", {}),
    "OneCycleLR": (scheduled(lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=7 * EPOCHS), "step"), "sgd", {}),
    "ReduceLROnPlateau": (scheduled(plateau), "sgd", {}),
    "plateau by step": (scheduled(plateau, "step"), "adamw", {}),
    "a babysitter": (Module, "sgd", {"babysitter": Babysitter("val_loss", patience=0, min_delta=0.2)}),
    "early stopping": (
        Module,
        "sgd",
        {"trainer": {"callbacks": [lambda: EarlyStopping("val_loss", patience=0, min_delta=0.1)], "min_epochs": 3}},
    ),
    "accumulation": (Module, "adamw", {"trainer": {"accumulate_grad_batches": 3}}),
    "validation twice an epoch": (Module, "sgd", {"trainer": {"val_check_interval": 0.5}}),
    "max_steps": (Module, "sgd", {"trainer": {"max_epochs": -1, "max_steps": 31}}),
}


@pytest.fixture
def make(monkeypatch):
    """Gives a case's recipe in a folder; the trials of an ``interrupted`` one are interrupted in these epochs, by number."""

    def recipe(case, root, interrupts=None):
        kind, optimizer, settings = CASES[case]
        monkeypatch.setattr(Classifier, "optimizer", optimizer)
        settings = {**settings, "trainer": {"max_epochs": EPOCHS, **settings.get("trainer", {})}}
        made = recipe_of(kind, root, **settings)
        lrs = [trial.hparams["lr"] for trial in trials_of(made)]
        monkeypatch.setattr(Module, "interrupts", {lrs[number]: epoch for number, epoch in (interrupts or {}).items()})
        monkeypatch.setattr(Module, "begun", [])
        return made

    return recipe


def interrupted(recipe, jobs):
    with pytest.raises(KeyboardInterrupt):
        run(recipe, jobs)


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for number, outcome in theirs.items():
        assert ours[number].state == outcome.state, ours[number].traceback
        assert ours[number].metrics == outcome.metrics
        assert ours[number].value == outcome.value
        one, other = weights(ours[number]), weights(outcome)
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# One early and one late, for those whose state is most.
TWICE = ("adamw", "ReduceLROnPlateau", "a babysitter", "early stopping")


@pytest.mark.run_each_time
@pytest.mark.parametrize(("case", "epoch"), [*((case, 3) for case in CASES), *((case, 1) for case in TWICE)])
def test_an_interrupted_job_ends_as_if_it_had_not_been(case, epoch, make, tmp_path):
    whole = make(case, tmp_path / "whole")
    trials = trials_of(whole)
    theirs = run(whole, [trials])
    if theirs[1].epochs <= epoch:
        pytest.skip("it has stopped by then")
    recipe = make(case, tmp_path / "study", {1: epoch})
    interrupted(recipe, [trials])
    recipe = make(case, tmp_path / "study")
    ours = run(recipe, [trials])
    # As fused, bit for bit.
    assert_same(ours, theirs)
    assert {epoch for _, epoch in Module.begun} == set(range(epoch, max(each.epochs for each in theirs.values())))
    logs = [sorted(root.rglob("babysit.jsonl")) for root in (whole.root, recipe.root)]
    assert [path.read_text() for path in logs[0]] == [path.read_text() for path in logs[1]]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["sgd", "adamw", "ReduceLROnPlateau", "a babysitter", "early stopping"])
@pytest.mark.parametrize("first", ["together", "alone"])
def test_what_was_interrupted_together_goes_on_alone_and_the_other_way_round(case, first, make, tmp_path):
    whole = make(case, tmp_path / "whole")
    trials = trials_of(whole)
    theirs = run(whole, [[trial] for trial in trials])
    recipe = make(case, tmp_path / "study", {0: 2, 1: 2, 2: 2})
    singly = [[trial] for trial in trials]
    if first == "together":
        interrupted(recipe, [trials])
    else:
        for single in singly:
            interrupted(recipe, [single])
    recipe = make(case, tmp_path / "study")
    ours = run(recipe, singly if first == "together" else [trials])
    for number, outcome in theirs.items():
        assert_alike(ours[number], outcome)
    assert {epoch for _, epoch in Module.begun} == set(range(2, max(each.epochs for each in theirs.values())))


def test_trials_that_were_interrupted_at_different_epochs_go_on_with_those_at_the_same(make, tmp_path):
    whole = make("adamw", tmp_path / "whole")
    trials = trials_of(whole, 5)
    theirs = run(whole, [[trial] for trial in trials])
    for number, epoch in enumerate([1, 3, None, 1, None]):
        if epoch is not None:
            recipe = make("adamw", tmp_path / "study")
            Module.interrupts[trials[number].hparams["lr"]] = epoch
            interrupted(recipe, [[trials[number]]])
    recipe = make("adamw", tmp_path / "study")
    ours = run(recipe, [trials])
    for number, outcome in theirs.items():
        assert_alike(ours[number], outcome)
    # 0 and 3 together, then 2 and 4, then 1, which has none to go with.
    numbers = {trial.hparams["lr"]: trial.number for trial in trials}
    order = [(numbers[lr], epoch) for lr, epoch in Module.begun]
    assert order[:8] == [(number, epoch) for epoch in range(1, 5) for number in (0, 3)]
    assert order[8:18] == [(number, epoch) for epoch in range(5) for number in (2, 4)]
    assert order[18:] == [(1, 3), (1, 4)]


def test_checkpoints_that_are_written_seldom_take_it_back_further(make, tmp_path, monkeypatch):
    whole = make("ReduceLROnPlateau", tmp_path / "whole")
    trials = trials_of(whole)
    theirs = run(whole, [trials])
    monkeypatch.setattr(saving, "PARTS", 1e6)
    monkeypatch.setattr(saving, "LEAST", 0)
    recipe = make("ReduceLROnPlateau", tmp_path / "study", {2: 4})
    interrupted(recipe, [trials])
    recipe = make("ReduceLROnPlateau", tmp_path / "study")
    ours = run(recipe, [trials])
    assert_same(ours, theirs)
    # Written at once after the first epoch, and then no more.
    assert {epoch for _, epoch in Module.begun} == {1, 2, 3, 4}


@pytest.mark.parametrize("parts", [0, 1e6])
def test_the_best_weights_that_a_checkpoint_speaks_of_are_there(parts, make, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "PARTS", parts)
    monkeypatch.setattr(saving, "LEAST", 0)
    recipe = make("sgd", tmp_path)
    trials = trials_of(recipe)
    seen = []

    def look(event):
        for trial in trials if isinstance(event, EpochEnded) else ():
            folder = trial_folder(tmp_path, trial.number) / "checkpoints"
            if (folder / LAST).exists():
                # As the search that is started after a kill finds it.
                copy = shutil.copytree(folder, tmp_path / "copy" / str(len(seen)))
                attempt = begin(replace(recipe, root=tmp_path / "other"), trial, lambda event: None)
                attempt.logger.experiment.close()
                cut_out(copy, attempt.reporter.identity)
                found = resumable(copy, attempt.reporter.identity)
                assert found.path == copy / LAST
                assert (copy / BEST).exists()
                seen.append(torch.load(found.path, weights_only=True)["callbacks"]["Reporter"]["epochs"])

    done = run(recipe, [trials], emit=look)
    assert set(seen) >= ({1} if parts else set(range(1, EPOCHS)))
    for number, outcome in done.items():
        last = torch.load(trial_folder(tmp_path, number) / "checkpoints" / LAST, weights_only=True)
        assert last["epoch"] == EPOCHS - 1
        assert last["callbacks"]["Reporter"]["best"] == outcome.value
        best = torch.load(outcome.checkpoint, weights_only=True)
        assert outcome.metrics["val_loss"][best["epoch"]] == outcome.value


def test_a_trial_that_fails_leaves_checkpoints_of_its_own(tmp_path):
    class Failing(Classifier):
        def on_train_epoch_start(self):
            if self.current_epoch == 3 and self.lr == numbers[1]:
                raise ValueError("not this one")

    recipe = recipe_of(Failing, tmp_path, trainer={"max_epochs": EPOCHS})
    trials = trials_of(recipe)
    numbers = {trial.number: trial.hparams["lr"] for trial in trials}
    done = run(recipe, [trials])
    assert {number: outcome.state for number, outcome in done.items()} == {0: "complete", 1: "failed", 2: "complete"}
    for number, epochs in {0: EPOCHS, 1: 3, 2: EPOCHS}.items():
        folder = trial_folder(tmp_path, number) / "checkpoints"
        assert sorted(path.name for path in folder.iterdir()) == [BEST, LAST]
        assert torch.load(folder / LAST, weights_only=True)["callbacks"]["Reporter"]["epochs"] == epochs
        assert (folder / LAST).stat().st_nlink == 1


def test_the_last_checkpoint_is_that_of_a_trial_by_itself(make, tmp_path):
    recipes = [make("sgd", tmp_path / name) for name in ("fused", "alone")]
    trials = trials_of(recipes[0])
    run(recipes[0], [trials])
    run(recipes[1], [[trial] for trial in trials])
    for trial in trials:
        ours, theirs = (
            torch.load(trial_folder(each.root, trial.number) / "checkpoints" / LAST, weights_only=True) for each in recipes
        )
        assert ours.keys() == theirs.keys()
        for key in ("epoch", "global_step", "loops", "lr_schedulers", "hyper_parameters"):
            assert ours[key] == theirs[key], key
        assert ours["callbacks"].keys() == theirs["callbacks"].keys()
        one, other = ours["optimizer_states"][0], theirs["optimizer_states"][0]
        assert one["param_groups"] == other["param_groups"]
        torch.testing.assert_close(one["state"], other["state"], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_killed_worker_is_tried_again_and_ends_as_if_it_had_not_been(search, tmp_path):
    seen = tmp_path / "seen"

    class Killed(Classifier):
        kills = True

        def make(self):
            # In the worker, before it is said when to write first.
            saving.PARTS = 0
            return super().make()

        def on_train_epoch_start(self):
            with seen.open("a") as file:
                file.write(f"{self.current_epoch}\n")
            if self.kills and self.current_epoch == 3 and seen.read_text().count("3\n") == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    class Spared(Killed):
        kills = False

    study = search(Killed, executor="processes", workers=1, retries=1, root_dir=tmp_path / "killed", **TOGETHER).run()
    lines = seen.read_text().splitlines()
    assert lines.count("0") == 4
    quiet = search(Spared, executor="inline", retries=1, root_dir=tmp_path / "spared", **TOGETHER).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 4
    for ours, theirs in zip(study.trials, quiet.trials, strict=True):
        assert_alike(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "times", "attempts"),
    [
        ("killed", 1, [4, 4]),
        ("killed", 2, [4, 4, 1]),
        ("out of memory", 1, [4, 1]),
        ("crashed", 1, [4, 1]),
    ],
)
def test_a_job_whose_worker_is_killed_goes_on_as_one_and_is_parted_where_its_trials_may_be_the_reason(
    search, tmp_path, how, times, attempts
):
    seen = tmp_path / "seen"
    seen.touch()

    class Lost(Classifier):
        def make(self):
            # In the worker, too.
            saving.PARTS = 0
            return super().make()

        def on_train_epoch_start(self):
            lost = len(seen.read_text())
            if lost < times and self.current_epoch == 3 + lost:
                seen.write_text("." * (lost + 1))
                if how == "out of memory":
                    self.hoard = torch.ones(2**29)
                    time.sleep(100)
                os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGSEGV)

    study = search(Lost, executor="processes", workers=1, retries=2, memory_limit=2.0, **TOGETHER).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 4
    for number in range(4):
        made = read_circumstances(trial_folder(study.root, number))
        assert [attempt.together for attempt in made] == attempts
        assert [attempt.step > 0 for attempt in made] == [False] + [True] * times
    quiet = search(Lost, executor="inline", root_dir=tmp_path / "quiet", **TOGETHER).run()
    for ours, theirs in zip(study.trials, quiet.trials, strict=True):
        assert_alike(ours, theirs)
        assert ours.metrics == theirs.metrics or 1 in attempts


def test_an_interrupted_search_goes_on_in_another_lane(search, tmp_path, make):
    make("adamw", tmp_path)
    arguments = {
        "space": SPACE,
        "trials": 3,
        "monitor": "val_loss",
        "mode": "min",
        "data": loaders,
        "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu"},
    }
    whole = search(Module, fuse="never", root_dir=tmp_path / "whole", **arguments).run()
    Module.interrupts[whole.trials[1].hparams["lr"]] = 2
    with pytest.raises(KeyboardInterrupt):
        search(Module, fuse="always", **arguments).run()
    assert {trial.state for trial in Study(tmp_path / "study").trials} == {"waiting"}
    Module.interrupts.clear()
    Module.begun.clear()
    resumed = search(Module, fuse="never", **arguments).run()
    assert {epoch for _, epoch in Module.begun} == {2, 3, 4}
    for ours, theirs in zip(resumed.trials, whole.trials, strict=True):
        assert_alike(ours, theirs)


def test_trained_twice_is_the_same_bit_for_bit(tmp_path):
    assert_same(trained(Classifier, tmp_path / "one", True), trained(Classifier, tmp_path / "other", True))
