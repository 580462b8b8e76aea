"""A library of the package pytorch_lightning, which the user's script has import lightning.pytorch by that name."""

from __future__ import annotations

import importlib
import pickle
import sys

import lightning.pytorch
import pytest

from lightning_hp import Log
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.executors.names import with_names

LIBRARY = """
import pytorch_lightning as pl
import torch

class Net(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.lr, self.net = lr, torch.nn.Linear(64, 10)

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A module of that package's."""
    (tmp_path / "their_nets.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", lightning.pytorch)
    yield importlib.import_module("their_nets")
    del sys.modules["their_nets"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "executor", ["inline", pytest.param("processes", marks=pytest.mark.skipif(not CAN_FORK, reason="slow"))]
)
def test_a_library_of_the_other_package_is_searched(search, library, executor):
    arguments = {"monitor": "val_loss", "mode": "min", "trials": 2, "executor": executor, "workers": 1}
    study = search(library.Net, space={"lr": Log(1e-3, 1e-1)}, **arguments).run()
    assert [(trial.state, trial.reason) for trial in study.trials] == [("complete", None)] * 2


def test_a_name_that_is_taken_where_it_arrives_stays_as_it_is(library, monkeypatch):
    sent = with_names(pickle.dumps(1))
    other = type(sys)("pytorch_lightning")
    monkeypatch.setitem(sys.modules, "pytorch_lightning", other)
    assert pickle.loads(sent) == 1
    assert sys.modules["pytorch_lightning"] is other
