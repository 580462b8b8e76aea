"""The weights of each trial's best epoch are what they were then, however many epochs come after it."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from lightning_hp.fit.checkpoints import LAST
from lightning_hp.fit.fused import saving
from lightning_hp.fit.fused.best import BestWeights
from lightning_hp.fit.fused.stack import Stack
from tests.fit.fused.digits import SPACE, Classifier, assert_alike, recipe_of, trained, trials_of, weights


def stack_of(rows):
    return Stack([nn.Linear(2, 3) for _ in range(rows)])


def fill(stack, value):
    with torch.no_grad():
        for tensor in stack.parameters.values():
            tensor.fill_(value)


def values_of(best, trial):
    return {float(value) for tensor in best.of(trial).values() for value in tensor.flatten()}


def test_each_has_its_own_latest():
    stack, best = stack_of(3), BestWeights([7, 8, 9])
    for value, trials in ((1.0, {0: 7, 1: 8, 2: 9}), (2.0, {1: 8}), (3.0, {0: 7, 1: 8}), (4.0, {})):
        fill(stack, value)
        best.keep(stack, trials) if trials else None
    assert [values_of(best, trial) for trial in (7, 8, 9)] == [{3.0}, {3.0}, {1.0}]


def test_a_trial_is_found_again_when_others_have_left():
    stack, best = stack_of(3), BestWeights([7, 8, 9])
    fill(stack, 1.0)
    best.keep(stack, {0: 7, 1: 8, 2: 9})
    stack.keep([2])
    fill(stack, 2.0)
    best.keep(stack, {0: 9})
    assert [values_of(best, trial) for trial in (7, 8, 9)] == [{1.0}, {1.0}, {2.0}]


def test_there_is_one_copy_however_often_there_is_a_better_one():
    stack, best = stack_of(3), BestWeights([7, 8, 9])
    kept = set()
    for row in (0, 1, 2, 0, 1):
        best.keep(stack, {row: 7 + row, (row + 1) % 3: 7 + (row + 1) % 3})
        kept |= {tensor.untyped_storage().data_ptr() for tensor in best.of(7 + row).values()}
    assert len(kept) == len(stack.parameters)


class Worsening(Classifier):
    """Is best in an epoch of its own, which is not the last."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("score", abs(self.current_epoch - self.hparams.peak) + 0.0 * self.net(batch[0]).sum())

    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        self.hparams.peak = [1, 0, 2, 3, 1][PEAKS.index(lr)]


PEAKS = [trial.hparams["lr"] for trial in trials_of(recipe_of(Classifier, None), 5)]


class WithBuffers(Worsening):
    def make(self):
        return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


class WithTiedWeights(Worsening):
    def make(self):
        first = nn.Linear(64, 64)
        second = nn.Linear(64, 64)
        second.weight = first.weight
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(64, 10))


class WithMoreState(Worsening):
    def get_extra_state(self):
        return {"epoch": self.current_epoch if self._trainer is not None else 0}

    def set_extra_state(self, state):
        pass


class WithAnotherState(Worsening):
    def state_dict(self, *args, **keywords):
        return {key: value * 2 for key, value in super().state_dict(*args, **keywords).items()}


class Shrinking(Worsening):
    """Changes its weights when the reporter has seen them."""

    def on_validation_end(self):
        with torch.no_grad():
            self.net[0].weight.mul_(0.9)


class Adding(Callback):
    """Adds a callback that does that in the course."""

    def on_train_start(self, trainer, pl_module):
        trainer.callbacks.append(ShrinkingCallback())


class ShrinkingCallback(Callback):
    def on_validation_end(self, trainer, pl_module):
        with torch.no_grad():
            pl_module.net[0].weight.mul_(0.9)


FIVE = {"trials": 5, "space": SPACE, "monitor": "score", "trainer": {"max_epochs": 4}}
MODELS = (Worsening, WithBuffers, WithTiedWeights, WithMoreState, WithAnotherState, Shrinking)


@pytest.fixture(scope="module", params=MODELS)
def by_itself(request, tmp_path_factory):
    """A module, and what each of five trials of it ends as by itself."""
    return request.param, trained(request.param, tmp_path_factory.mktemp("alone"), False, **FIVE)


@pytest.mark.parametrize("parts", [saving.PARTS, 0], ids=["written at the end", "written each epoch"])
def test_the_best_epochs_weights_are_written(by_itself, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "PARTS", parts)
    kind, alone = by_itself
    fused = trained(kind, tmp_path, True, **FIVE)
    for number, outcome in alone.items():
        ours, theirs = (torch.load(each.checkpoint, weights_only=True) for each in (fused[number], outcome))
        extra = [each["state_dict"].pop("_extra_state", None) for each in (ours, theirs)]
        assert extra[0] == extra[1]
        assert ours["state_dict"].keys() == theirs["state_dict"].keys()
        for name, tensor in theirs["state_dict"].items():
            torch.testing.assert_close(ours["state_dict"][name], tensor, rtol=1e-3, atol=1e-4)
        assert (ours["epoch"], ours["global_step"]) == (theirs["epoch"], theirs["global_step"])
        # A row does not take the others' along.
        assert fused[number].checkpoint.stat().st_size < 2 * outcome.checkpoint.stat().st_size
        last = torch.load(fused[number].checkpoint.parent / LAST, weights_only=True)["state_dict"]
        assert ours["epoch"] == 3 or not torch.equal(last["net.0.weight"], ours["state_dict"]["net.0.weight"])


def test_a_callback_that_comes_in_the_course_changes_no_best_weights(tmp_path):
    settings = {"trials": 5, "monitor": "score", "trainer": {"max_epochs": 4, "callbacks": [Adding]}}
    fused = trained(Worsening, tmp_path / "fused", True, **settings)
    alone = trained(Worsening, tmp_path / "alone", False, **settings)
    for number, outcome in alone.items():
        assert_alike(fused[number], outcome)


class Averaging(Callback):
    """Validates with averaged weights, and puts them into checkpoints, as Lightning's WeightAveraging does."""

    def setup(self, trainer, pl_module, stage):
        self.average = {name: value.clone() for name, value in pl_module.state_dict().items()}

    def on_train_batch_end(self, trainer, pl_module, *args):
        for name, value in pl_module.state_dict().items():
            self.average[name].lerp_(value, 0.1)

    def on_validation_epoch_start(self, trainer, pl_module):
        self.swap(pl_module)

    def on_validation_epoch_end(self, trainer, pl_module):
        self.swap(pl_module)

    def swap(self, pl_module):
        current = {name: value.clone() for name, value in pl_module.state_dict().items()}
        pl_module.load_state_dict(self.average)
        self.average = current

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["state_dict"] = dict(self.average)


def test_weights_that_a_callback_puts_into_checkpoints_are_the_best_ones(tmp_path):
    settings = {"trials": 3, "trainer": {"max_epochs": 2, "callbacks": [Averaging]}}
    fused = trained(Classifier, tmp_path / "fused", True, **settings)
    alone = trained(Classifier, tmp_path / "alone", False, **settings)
    for number, outcome in alone.items():
        assert_alike(fused[number], outcome)
        for name, tensor in weights(outcome).items():
            torch.testing.assert_close(weights(fused[number])[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_trial_that_fails_leaves_its_best_weights(tmp_path):
    class Failing(Worsening):
        def on_train_epoch_start(self):
            if self.current_epoch == 3 and self.lr == PEAKS[1]:
                raise ValueError("not this one")

    made = trained(Failing, tmp_path, True, trials=5, monitor="score", trainer={"max_epochs": 4})
    assert made[1].state == "failed"
    first = trained(Worsening, tmp_path / "first", True, trials=5, monitor="score", trainer={"max_epochs": 1})
    for name, tensor in weights(first[1]).items():
        torch.testing.assert_close(weights(made[1])[name], tensor)
