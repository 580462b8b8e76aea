"""What a first step writes into its module for good, such as a word in a config, does not keep trials from training as one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn
from torch.utils.data import DataLoader

from tests.fit.fused.digits import Classifier, assert_the_same_alone, loaders, recipe_of, refused


class Deciding(Classifier):
    """Sees by its first labels what kind of task it has, as text classifiers do, and says so in a hook."""

    def make(self):
        self.config = SimpleNamespace(task=None)
        self.warned = {}
        return super().make()

    def _loss(self, batch):
        if self.config.task is None:
            self.config.task = "regression" if batch[1].is_floating_point() else "classes"
            self.warned["task"] = True
        return {"classes": nn.functional.cross_entropy, "regression": nn.functional.mse_loss}[self.config.task]

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch)(self.net(batch[0]), batch[1]))

    def on_validation_epoch_end(self):
        self.log("classes", float(self.config.task == "classes" and self.warned["task"]))


class DecidingInTraining(Deciding):
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def on_validation_epoch_end(self):
        """The sanity check comes before any training."""


@pytest.mark.parametrize("kind", [Deciding, DecidingInTraining])
def test_trials_whose_first_step_writes_down_what_all_have_alike_train_as_one(kind, tmp_path):
    assert_the_same_alone(kind, tmp_path)


class LastSize(Classifier):
    """Keeps something of each batch, which a hook reads."""

    size = 0

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.size = len(batch[0])


class LastIndex(Classifier):
    index = 0

    def training_step(self, batch, batch_idx):
        self.index = batch_idx
        return super().training_step(batch, batch_idx)


class OfEachTrial(Classifier):
    """Writes down a number in which the trials differ."""

    doubled = None

    def training_step(self, batch, batch_idx):
        self.doubled = self.doubled or self.lr * 2
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (LastSize, "validation_step changes size of the module"),
        (LastIndex, "training_step changes index of the module"),
        (OfEachTrial, "training_step changes doubled of the module"),
    ],
)
def test_what_a_later_step_changes_or_differs_keeps_them_apart(kind, reason, tmp_path):
    assert refused(recipe_of(kind, tmp_path, data=uneven)).reason == reason


def uneven():
    """Loaders whose last batch is smaller."""
    train, val = loaders()
    return train, DataLoader(val.dataset, batch_size=64)
