"""Where memory does not take a group, half of it trains at a time, down to single trials."""

from __future__ import annotations

import pytest
import torch

from lightning_hp.fit.fused import saving
from lightning_hp.fit.fused.step import FusedStep
from lightning_hp.trial import Unfused
from tests.fit.fused.digits import (
    SPACE,
    Classifier,
    assert_alike,
    assert_same_curves,
    loaders,
    recipe_of,
    run,
    trained,
    trials_of,
)

NO_MEMORY = {
    "a device": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "the host": RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to"),
}


@pytest.fixture
def memory(monkeypatch):
    """Has steps of more than so many rows fail, from some step on; gives the numbers of rows of all steps."""

    def limit(rows, error=NO_MEMORY["a device"], first=0):
        ordinary, sizes = FusedStep.__call__, []

        def step(self, name, *args):
            sizes.append(len(self.stack.models))
            if sizes[-1] > rows and len(sizes) > first:
                raise error
            return ordinary(self, name, *args)

        monkeypatch.setattr(FusedStep, "__call__", step)
        return sizes

    return limit


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Seven trials, each trained by itself, and where."""
    root = tmp_path_factory.mktemp("alone")
    return root, trained(Classifier, root, False, trials=7)


@pytest.mark.parametrize(("rows", "where"), [(4, "a device"), (4, "the host"), (3, "a device"), (1, "a device")])
def test_a_failed_allocation_halves_the_group(rows, where, tmp_path, memory, alone):
    root, outcomes = alone
    sizes = memory(rows, NO_MEMORY[where])
    fused = trained(Classifier, tmp_path / "fused", True, trials=7)
    # 7 do not fit, nor do 4 into 3; single ones train in ordinary fits.
    assert list(dict.fromkeys(sizes)) == {4: [7, 4, 3], 3: [7, 4, 2], 1: [7, 4, 2]}[rows]
    assert fused.keys() == outcomes.keys()
    for number, outcome in outcomes.items():
        assert_alike(fused[number], outcome)
        assert_same_curves(tmp_path / "fused", root, number)


@pytest.mark.run_each_time
def test_what_was_trained_before_memory_failed_is_not_lost(tmp_path, memory, monkeypatch):
    monkeypatch.setattr(saving, "PARTS", 0)
    begun = []

    class Noting(Classifier):
        def on_train_epoch_start(self):
            begun.append(self.current_epoch)

    trainer = {"max_epochs": 4}
    alone = trained(Noting, tmp_path / "alone", False, trials=4, trainer=trainer)
    begun.clear()
    # In the third epoch.
    memory(2, first=25)
    fused = trained(Noting, tmp_path / "fused", True, trials=4, trainer=trainer)
    assert begun.count(0) == 4
    assert begun.count(2) == 8
    for number, outcome in alone.items():
        assert_alike(fused[number], outcome)
        assert_same_curves(tmp_path / "fused", tmp_path / "alone", number)


def test_trials_that_have_ended_are_not_run_again(tmp_path, memory):
    class Stopping(Classifier):
        def on_train_epoch_end(self):
            self.trainer.should_stop = self.lr == first

    recipe = recipe_of(Stopping, tmp_path, trainer={"max_epochs": 3})
    trials = trials_of(recipe, 5)
    first = trials[0].hparams["lr"]
    memory(2, first=16)
    made = run(recipe, [trials])
    assert [made[number].epochs for number in range(5)] == [1, 3, 3, 3, 3]


def test_a_search_tells_of_each_epoch_once(search, memory):
    memory(2, first=20)
    arguments = {"space": SPACE, "monitor": "val_loss", "mode": "min", "data": loaders, "trials": 4, "fuse": "always"}
    study = search(Classifier, trainer={"max_epochs": 3, "accelerator": "cpu"}, **arguments).run()
    for trial in study.trials:
        assert (trial.state, trial.epochs) == ("complete", 3)
        assert all(len(values) == 3 for values in trial.metrics.values())


def test_where_memory_takes_not_even_the_models(tmp_path, memory):
    made = []

    def factory(lr, momentum):
        made.append(lr)
        if len(made) == 4:
            raise torch.OutOfMemoryError("no more")
        return Classifier(lr, momentum)

    outcomes = run(recipe_of(factory, tmp_path), [trials_of(recipe_of(Classifier, tmp_path), 4)])
    assert {outcome.state for outcome in outcomes.values()} == {"complete"}


def test_where_memory_takes_not_all_optimizers(tmp_path, memory):
    made = []

    class Greedy(Classifier):
        def configure_optimizers(self):
            made.append(self.lr)
            if len(made) == 3:
                raise torch.OutOfMemoryError("no more")
            return super().configure_optimizers()

    sizes = memory(4)
    outcomes = run(recipe_of(Greedy, tmp_path), [trials_of(recipe_of(Greedy, tmp_path), 4)])
    assert {outcome.state for outcome in outcomes.values()} == {"complete"}
    assert set(sizes) == {2}


def test_a_trial_that_takes_too_much_by_itself_is_left_to_be_tried_again(tmp_path, memory):
    class Greedy(Classifier):
        def training_step(self, batch, batch_idx):
            raise torch.OutOfMemoryError("too much")

    refused = []
    made = run(recipe_of(Greedy, tmp_path), [trials_of(recipe_of(Greedy, tmp_path))], emit=refused.append)
    assert not any(isinstance(event, Unfused) for event in refused)
    assert [(outcome.state, outcome.retriable) for outcome in made.values()] == [("failed", True)] * 3
