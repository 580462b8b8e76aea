"""A step may take things out of its batch, as those of text models do: each run of it gets the whole batch."""

from __future__ import annotations

from collections import UserDict
from types import SimpleNamespace

import pytest
from torch import nn
from torch.utils.data import DataLoader, default_collate

from lightning_hp.fit.fused import rows_at_once
from tests.fit.fused.digits import Classifier, assert_the_same_alone, loaders


class Popping(Classifier):
    def loss(self, batch):
        labels = batch.pop("labels")
        return nn.functional.cross_entropy(self.net(batch.pop("inputs")["images"]), labels)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch), batch_size=50)


class Overwriting(Popping):
    """Writes into a batch that is an object, as those of graphs are."""

    def loss(self, batch):
        batch.images = self.net(batch.images)
        return nn.functional.cross_entropy(batch.images, batch.labels)


def as_dict(samples):
    images, labels = default_collate(samples)
    return {"inputs": {"images": images}, "labels": labels}


def as_mapping(samples):
    return UserDict(as_dict(samples))


def as_object(samples):
    images, labels = default_collate(samples)
    return SimpleNamespace(images=images, labels=labels)


def collated(collate):
    train, val = loaders()
    return lambda: (
        DataLoader(train.dataset, batch_size=32, shuffle=True, collate_fn=collate),
        DataLoader(val.dataset, batch_size=50, collate_fn=collate),
    )


@pytest.mark.parametrize(
    ("kind", "collate"),
    [(Popping, as_dict), (Popping, as_mapping), (Overwriting, as_object)],
    ids=["dict", "mapping", "object"],
)
@pytest.mark.parametrize("at_once", ["all", "one"])
def test_what_a_step_takes_or_writes_is_of_that_run_alone(kind, collate, at_once, tmp_path, monkeypatch):
    if at_once == "one":
        monkeypatch.setattr(rows_at_once, "LARGEST", 1)
    assert_the_same_alone(kind, tmp_path, data=collated(collate))
