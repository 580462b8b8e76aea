"""Metric objects tell at the end of an epoch what they tell where trials train by themselves, computed at once or not."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torchmetrics import MaxMetric, MeanMetric, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score, MulticlassAccuracy

from lightning_hp.fit.fused.metrics import MetricStates
from tests.fit.fused.digits import Classifier, assert_the_same_alone, trained


class Accuracy(MulticlassAccuracy):
    """Counts how often a model's own is asked."""

    asked = 0

    def compute(self):
        if not torch._C._functorch.is_batchedtensor(self.tp):
            type(self).asked += 1
        return super().compute()


class Branching(MulticlassAccuracy):
    """Looks at its numbers in Python."""

    def compute(self):
        return super().compute() if float(self.tp.sum()) > 0 else torch.tensor(0.0)


class Metered(Classifier):
    """Logs a metric object of each kind of step."""

    def make_metric(self):
        return Accuracy(10)

    def __init__(self, **hparams):
        super().__init__(**hparams)
        self.train_acc, self.val_acc = self.make_metric(), self.make_metric()

    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.train_acc.update(logits, batch[1])
        self.log("train_acc", self.train_acc, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        self.val_acc.update(logits, batch[1])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_acc", self.val_acc)


class MeteredByBranches(Metered):
    def make_metric(self):
        return Branching(10)


class Looking(Metered):
    """Looks at its metrics itself."""

    def on_train_epoch_end(self):
        self.log("looked at", self.train_acc.compute() + self.val_acc.compute())


@pytest.mark.parametrize("model", [Metered, MeteredByBranches, Looking])
def test_metric_objects_tell_the_same_in_each_epoch(model, tmp_path):
    assert_the_same_alone(model, tmp_path, trainer={"max_epochs": 3})


def test_metric_objects_begin_anew_in_each_epoch_without_validations(tmp_path):
    settings = {"monitor": "train_acc", "mode": "max", "trainer": {"max_epochs": 3, "limit_val_batches": 0}}
    assert_the_same_alone(Metered, tmp_path, **settings)


@pytest.mark.parametrize("model", [Metered, Looking])
def test_metric_objects_begin_anew_where_another_trial_has_left(model, tmp_path):
    early = [lambda: EarlyStopping("train_acc", patience=2, mode="max", min_delta=0.03)]
    settings = {"trainer": {"max_epochs": 12, "callbacks": early}, "trials": 4}
    outcomes = assert_the_same_alone(model, tmp_path, **settings)
    assert len({outcome.epochs for outcome in outcomes.values()}) > 1


def test_models_own_metrics_are_asked_once_to_compare(tmp_path):
    Accuracy.asked = 0
    trained(Metered, tmp_path, True, trainer={"max_epochs": 5, "num_sanity_val_steps": 0})
    assert Accuracy.asked == 2 * 3


def test_what_differs_from_the_models_own_is_not_taken(tmp_path, monkeypatch):
    at_once = MetricStates._computed
    monkeypatch.setattr(MetricStates, "_computed", lambda self, path: at_once(self, path) + 0.5)
    assert_the_same_alone(Metered, tmp_path)


def test_what_can_no_longer_be_computed_at_once_is_asked_of_the_models(tmp_path, monkeypatch):
    at_once, calls = MetricStates._computed, []

    def twice(self, path):
        calls.append(path)
        if calls.count(path) > 2:
            raise RuntimeError
        return at_once(self, path)

    monkeypatch.setattr(MetricStates, "_computed", twice)
    assert_the_same_alone(Metered, tmp_path, trainer={"max_epochs": 4})
    assert calls.count("train_acc") == 3


class Choosy(Metered):
    """Its metrics branch on what they are given, as a mean that leaves out NaN and binary metrics of scores do."""

    def make_metric(self):
        scores = [BinaryAccuracy(), BinaryF1Score(), BinaryAUROC(thresholds=None)]
        return nn.ModuleDict({"scores": MetricCollection(scores), "loss": MeanMetric(), "worst": MaxMetric()})

    def measured(self, name, metrics, batch):
        logits = self.net(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1])
        metrics["worst"](metrics["loss"](loss))
        metrics["scores"].update(logits.softmax(1)[:, 0], batch[1] == 0)
        for key in ("loss", "worst"):
            self.log(f"{name}_{key}", metrics[key], on_step=True, on_epoch=True)
        self.log_dict({f"{name}_{key}": metric for key, metric in metrics["scores"].items()}, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, batch_idx):
        return self.measured("train", self.train_acc, batch)

    def validation_step(self, batch, batch_idx):
        self.measured("val", self.val_acc, batch)


def test_metrics_that_branch_on_what_they_are_given_tell_the_same(tmp_path):
    assert_the_same_alone(Choosy, tmp_path, monitor="val_loss_epoch")
