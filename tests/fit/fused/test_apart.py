"""What differs between models and is no number keeps them apart only if a step reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from torch import nn

from tests.fit.fused.digits import Classifier, assert_the_same_alone, recipe_of, refused


class Inspector:
    """Remembers what it has found out, as libraries do of their own classes: the first one of a process does the work."""

    found: ClassVar[set[str]] = set()

    def __init__(self, kind):
        self.sources = {} if kind in self.found else {kind: "source"}
        self.found.add(kind)


@dataclass(frozen=True)
class Setting:
    label: str
    scale: float = 1.0


class Labelled(Classifier):
    """Has a name of its own, in itself, in a list and in objects that the step reads other things of."""

    def make(self):
        self.run_name = f"lr={self.lr}"
        self.setting = Setting(self.run_name)
        self.notes = [self.run_name]
        net = super().make()
        net[0].inspector = Inspector("Linear")
        return net

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * self.setting.scale

    def on_validation_epoch_end(self):
        self.log("length", float(len(self.run_name + self.setting.label)))


def test_trials_that_differ_in_what_no_step_reads_train_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Inspector, "found", set())
    assert_the_same_alone(Labelled, tmp_path)


class Renaming(Labelled):
    def on_train_epoch_start(self):
        self.run_name = f"{self.run_name}, epoch {self.current_epoch}"


def test_a_hook_may_change_it(tmp_path):
    assert_the_same_alone(Renaming, tmp_path)


class ReadingLater(Labelled):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss if self.current_epoch == 0 else loss * len(self.run_name)


class ReadingAnObject(Labelled):
    def validation_step(self, batch, batch_idx):
        self.log("length", float(len(self.setting.label)))
        super().validation_step(batch, batch_idx)


class ReadingInALayer(Labelled):
    """Its layer does without what differs only where that is not there."""

    class Named(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) * len(getattr(self, "name", ""))

    def make(self):
        return nn.Sequential(self.Named(64, 10))

    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        self.net[0].name = f"lr={lr}"


class Sealed:
    """A class that lets no other be made of it."""

    def __init_subclass__(cls):
        raise TypeError("not to be subclassed")

    def __init__(self, label):
        self.label = label


class KeepingASealed(Classifier):
    def make(self):
        self.kept = Sealed(f"lr={self.lr}")
        return super().make()


class OfOtherKinds(Classifier):
    """Gets a part of another class in some trials."""

    def setup(self, stage):
        self.net[1] = nn.ReLU() if self.lr > 0.005 else nn.Tanh()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ReadingLater, "run_name differs ('lr="),
        (ReadingAnObject, "setting.label differs ('lr="),
        (ReadingInALayer, "net.0.name differs ('lr="),
        (KeepingASealed, "kept.label differs ('lr="),
        (OfOtherKinds, "net.1.__class__ differs (<class 'torch.nn.modules.activation."),
    ],
)
def test_what_a_step_reads_keeps_them_apart(kind, reason, tmp_path):
    told = refused(recipe_of(kind, tmp_path)).reason
    assert told.startswith(reason), told
