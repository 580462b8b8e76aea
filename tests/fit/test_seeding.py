"""Batch order: the same for all trials, another in each epoch, in every kind of loader."""

from __future__ import annotations

import gc
import random
import weakref

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lightning_hp import Log

DATA = TensorDataset(torch.arange(24.0)[:, None])


class Noisy(Dataset):
    """Adds noise from each of the global generators."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return (torch.tensor([index + random.random(), np.random.rand(), torch.rand(()).item()]),)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(DATA[index][0] + torch.rand(1),) for index in random.sample(range(24), 24)])


class Shuffle(Sampler):
    def __iter__(self):
        return iter(np.random.permutation(24).tolist())

    def __len__(self):
        return 24


class Recording(LightningModule):
    """Notes the batches that it sees, and draws random numbers as it pleases."""

    def __init__(self, seen, lr):
        super().__init__()
        self.seen = seen
        self.lr = lr
        self.net = torch.nn.LazyLinear(1)

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
    "noise": lambda: DataLoader(Noisy(), batch_size=5, shuffle=True),
    "noise in workers": lambda: DataLoader(Noisy(), batch_size=5, shuffle=True, num_workers=2, persistent_workers=True),
    "a stream": lambda: DataLoader(Stream(), batch_size=5),
    "a sampler without generator": lambda: DataLoader(DATA, batch_size=5, sampler=Shuffle()),
    "such a sampler and workers": lambda: DataLoader(DATA, batch_size=5, sampler=Shuffle(), num_workers=1),
    "a dict of loaders": lambda: {"one": DataLoader(DATA, batch_size=5, shuffle=True), "two": DataLoader(DATA, batch_size=5)},
}


def run(search, make, model=Recording, trials=3, **changes):
    seen = {}

    def data():
        return make(), DataLoader(DATA, batch_size=24)

    def recording(lr):
        return model(seen, lr)

    arguments = {"space": {"lr": Log(0.01, 0.9)}, "data": data, "monitor": "val_loss", "mode": "min", "trials": trials}
    trainer = {"max_epochs": 3, "accelerator": "cpu"}
    study = search(recording, **{**arguments, "trainer": trainer, **changes}).run()
    assert [trial.state for trial in study.trials] == ["complete"] * trials, study.trials[0].reason
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


def test_noise_is_the_same_with_any_number_of_workers(search, tmp_path):
    def seen(workers, **arguments):
        loader = lambda: DataLoader(Noisy(), batch_size=5, shuffle=True, num_workers=workers, **arguments)  # noqa: E731
        return run(search, loader, trials=1, root_dir=tmp_path / f"{workers}{arguments}")

    alone = seen(0)
    assert seen(1) == alone
    assert seen(2, persistent_workers=True) == alone


def test_loaders_side_by_side_draw_noise_of_their_own(search):
    noise = {}

    class Both(Recording):
        def training_step(self, batch, batch_idx):
            for name, (x,) in batch.items():
                noise.setdefault(name, []).append(x[:, 1:])
            return super().training_step(batch, batch_idx)

    def data():
        loaders = {name: DataLoader(Noisy(), batch_size=5) for name in ("one", "two")}
        return loaders, DataLoader(DATA, batch_size=24)

    run(search, None, trials=1, data=data, model=Both)
    assert len(torch.unique(torch.cat(noise["one"] + noise["two"]))) == 3 * 24 * 2 * 2


class Loader(DataLoader):
    pass


def test_the_users_loaders_are_given_back_as_they_were(search):
    generator = torch.Generator()
    train, val = Loader(DATA, batch_size=5, shuffle=True, generator=generator), DataLoader(DATA, batch_size=24)
    before = [{**vars(loader)} for loader in (train, val)]
    run(search, None, data=lambda: (train, val))
    # Lightning has set it for good.
    lightnings = {"worker_init_fn": None}
    assert [{**vars(loader), **lightnings} for loader in (train, val)] == before
    assert (type(train), type(val)) == (Loader, DataLoader)
    assert (train.generator, train.sampler.generator, val.generator) == (generator, generator, None)


def test_loaders_that_were_replaced_are_not_held_on_to(search):
    made, alive = [], []

    class Reloading(Recording):
        def train_dataloader(self):
            gc.collect()
            alive.append(sum(reference() is not None for reference in made))
            loader = DataLoader(DATA, batch_size=5, shuffle=True)
            made.append(weakref.ref(loader))
            return loader

        def val_dataloader(self):
            return DataLoader(DATA, batch_size=24)

    trainer = {"max_epochs": 4, "accelerator": "cpu", "reload_dataloaders_every_n_epochs": 1}
    run(search, None, trials=1, data=None, model=Reloading, trainer=trainer)
    assert alive == [0, 1, 1, 1]
