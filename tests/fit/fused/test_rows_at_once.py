"""A step may run for some rows after others, where all at once would take too large tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from lightning_hp import Linear
from lightning_hp.fit.fused import rows_at_once
from lightning_hp.fit.fused.step import FusedStep
from tests.fit.fused.digits import SPACE, Classifier, assert_the_same_alone, trained

pytestmark = pytest.mark.run_each_time


class Convolutional(Classifier):
    """With buffers, metrics of both kinds, a list and a number of each trial's."""

    def make(self):
        self.accuracy, self.auroc, self.losses = MulticlassAccuracy(10), MulticlassAUROC(10), []
        convolution = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        return nn.Sequential(convolution, nn.Flatten(), nn.Linear(144, 10))

    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        loss = self.hparams.weight * nn.functional.cross_entropy(logits, batch[1])
        self.accuracy(logits, batch[1])
        self.log("train_acc", self.accuracy, on_step=True, on_epoch=True)
        self.losses.append(loss)
        return {"loss": loss, "logits": logits}

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.auroc.update(self.net(batch[0]), batch[1])
        self.log("auroc", self.auroc)

    def on_train_epoch_end(self):
        self.log("mean of the list", torch.stack(self.losses).mean())
        self.losses.clear()


@pytest.fixture
def rows_run(monkeypatch):
    """How many rows the models of the steps had, by the most that there may be at once."""
    found = []
    run = FusedStep._run_rows

    def noted(step, name, *args):
        found.append((len(step.stack.models), step.most.get(name)))
        return run(step, name, *args)

    monkeypatch.setattr(FusedStep, "_run_rows", noted)
    return found


@pytest.mark.parametrize("trials", [4, 5])
def test_trials_in_parts_end_as_each_by_itself(trials, rows_run, tmp_path, monkeypatch):
    # A batch of 32 images in 4 channels of 6 x 6 pixels.
    monkeypatch.setattr(rows_at_once, "LARGEST", 2 * 4 * 32 * 4 * 6 * 6)
    space = {**SPACE, "weight": Linear(0.5, 2.0)}
    assert_the_same_alone(Convolutional, tmp_path, trials=trials, space=space)
    assert (trials, 2) in rows_run


def test_small_models_are_not_parted(rows_run, tmp_path):
    trained(Classifier, tmp_path, True)
    assert all(rows <= most for rows, most in rows_run)


def test_random_numbers_are_each_rows_own_and_the_same_again(tmp_path, monkeypatch):
    class Dropping(Classifier):
        """The same weights in all trials."""

        def make(self):
            layer = nn.Linear(64, 10)
            nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
            nn.init.zeros_(layer.bias)
            return nn.Sequential(nn.Dropout(0.5), layer)

    monkeypatch.setattr(rows_at_once, "LARGEST", 1)
    settings = {"space": {"lr": Linear(0.01, 0.0100001)}, "trainer": {"max_epochs": 1}}
    once, again = (trained(Dropping, tmp_path / name, True, **settings) for name in ("once", "again"))
    losses = [round(outcome.metrics["train_loss_epoch"][0], 3) for outcome in once.values()]
    assert len(set(losses)) == 3
    assert [outcome.metrics for outcome in once.values()] == [outcome.metrics for outcome in again.values()]
