"""The fused step is compared with each model's own."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics import Accuracy, Metric

from lightning_hp import Linear
from lightning_hp.fit.fused import module
from lightning_hp.trial import Unfused
from tests.fit.fused.digits import SPACE, Classifier, assert_the_same_alone, loaders, recipe_of, run, trained, trials_of


class Dampened(Classifier):
    """Draws in another way where trials train as one, so that it is compared without dropout."""

    def __init__(self, **hparams):
        super().__init__(**hparams)
        self.accuracy = Accuracy("multiclass", num_classes=10)
        self.dropout = nn.Dropout(self.hparams.dropout)

    def training_step(self, batch, batch_idx):
        logits = self.dropout(self.net(batch[0]))
        self.accuracy(logits, batch[1])
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.log_dict({"train_loss": loss, "train_acc": self.accuracy}, on_step=False, on_epoch=True)
        return loss


def test_metrics_count_nothing_of_a_comparison_that_is_made_again(tmp_path):
    outcomes = trained(Dampened, tmp_path, True, space={**SPACE, "dropout": Linear(0.1, 0.5)}, trainer={"max_epochs": 3})
    for outcome in outcomes.values():
        assert outcome.state == "complete", outcome.traceback
        assert 0 < outcome.metrics["train_acc"][-1] <= 1


class Augmented(Dataset):
    """Images that take their time."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        time.sleep(1e-4)
        return self.images[index]


def slow_loaders(num_workers=0):
    train, val = loaders()
    return DataLoader(Augmented(train.dataset), batch_size=32, shuffle=True, num_workers=num_workers), val


def tried(tmp_path, data):
    """What has become of three trials: those that have finished as one, and why they did not."""
    events = []
    recipe = recipe_of(Classifier, tmp_path, data=data, trainer={"max_epochs": 1})
    finished = run(recipe, [trials_of(recipe)], always=False, emit=events.append)
    return len(finished), [event.reason for event in events if isinstance(event, Unfused)]


def test_a_slower_step_is_taken_where_to_load_a_batch_once_for_all_makes_up_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "seconds", lambda step, args, replay: (0.002, 0.001))
    assert tried(tmp_path, slow_loaders) == (3, [])


def test_it_is_not_where_other_processes_load(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "seconds", lambda step, args, replay: (0.002, 0.001))
    reason = "a fused step takes 2.0 ms, 3 ordinary ones take 1.0"
    assert tried(tmp_path, lambda: slow_loaders(num_workers=1)) == (0, [reason])


@pytest.mark.parametrize(("loading", "told"), [([0.01], ", with batches of 10.0 ms"), ([5.0, 0.0], "")])
def test_it_is_not_where_loading_takes_less_or_only_the_first_batch_takes_long(tmp_path, monkeypatch, loading, told):
    monkeypatch.setattr(module, "seconds", lambda step, args, replay: (2.0, 1.0))
    left = iter(loading)
    monkeypatch.setattr(module, "loading_seconds", lambda trainer: next(left))
    assert tried(tmp_path, loaders) == (0, [f"a fused step takes 2000.0 ms, 3 ordinary ones take 1000.0{told}"])
    assert list(left) == []


class Total(Metric):
    """A metric that adds in place."""

    full_state_update = False

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value):
        self.total += value

    def compute(self):
        return self.total


def test_metrics_that_are_updated_in_place_count_nothing_of_it(tmp_path):
    class Totalling(Classifier):
        def __init__(self, **hparams):
            super().__init__(**hparams)
            self.total = Total()

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.total.update(loss.detach())
            self.log("total", self.total, on_step=False, on_epoch=True)
            return loss

    assert_the_same_alone(Totalling, tmp_path)
