"""Batch order: the same for all trials, another in each epoch, in every kind of loader."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import LightningModule
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from lightning_hp import Log

DATA = TensorDataset(torch.arange(24.0)[:, None])


class Recording(LightningModule):
    """Notes the batches that it sees, and draws random numbers as it pleases."""

    def __init__(self, seen, lr):
        super().__init__()
        self.seen = seen
        self.lr = lr
        self.net = torch.nn.Linear(1, 1)

    def on_train_epoch_start(self):
        torch.rand(int(100 * self.lr))
        self.seen.setdefault(self.lr, []).append([])

    def training_step(self, batch, batch_idx):
        x = next(iter(batch.values()))[0] if isinstance(batch, dict) else batch[0]
        self.seen[self.lr][-1] += x.flatten().tolist()
        torch.rand(1)
        return self.net(x).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", torch.rand(1).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


LOADERS = {
    "shuffle": lambda: DataLoader(DATA, batch_size=5, shuffle=True),
    "workers": lambda: DataLoader(DATA, batch_size=5, shuffle=True, num_workers=1),
    "persistent workers": lambda: DataLoader(DATA, batch_size=5, shuffle=True, num_workers=1, persistent_workers=True),
    "a sampler": lambda: DataLoader(DATA, batch_size=5, sampler=RandomSampler(DATA, replacement=True)),
    "weights": lambda: DataLoader(DATA, batch_size=5, sampler=WeightedRandomSampler(torch.ones(24), 24)),
    "a batch sampler": lambda: DataLoader(DATA, batch_sampler=BatchSampler(RandomSampler(DATA), 5, drop_last=False)),
    "a generator": lambda: DataLoader(DATA, batch_size=5, shuffle=True, generator=torch.Generator()),
    "a dict of loaders": lambda: {"one": DataLoader(DATA, batch_size=5, shuffle=True), "two": DataLoader(DATA, batch_size=5)},
}


def run(search, make, **changes):
    seen = {}

    def data():
        return make(), DataLoader(DATA, batch_size=24)

    arguments = {"space": {"lr": Log(0.01, 0.9)}, "data": data, "monitor": "val_loss", "mode": "min", "trials": 3}

    def recording(lr):
        return Recording(seen, lr)

    study = search(recording, **arguments, trainer={"max_epochs": 3, "accelerator": "cpu"}, **changes).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 3, study.trials[0].reason
    return list(seen.values())


@pytest.mark.parametrize("loader", LOADERS)
def test_all_trials_see_the_same_batches_in_an_order_new_each_epoch(search, loader):
    first, *others = run(search, LOADERS[loader])
    assert others == [first, first]
    assert len(first) == 3
    assert len({tuple(epoch) for epoch in first}) == 3


def test_another_seed_is_another_order(search, tmp_path):
    one = run(search, LOADERS["shuffle"], seed=1, root_dir=tmp_path / "one")
    two = run(search, LOADERS["shuffle"], seed=2, root_dir=tmp_path / "two")
    assert one[0] != two[0]


def test_a_loader_that_does_not_shuffle_is_left_in_order(search):
    orders = run(search, lambda: DataLoader(DATA, batch_size=5))
    assert orders == [[DATA.tensors[0].flatten().tolist()] * 3] * 3
