"""A fused fit takes its batches at once, from all sources of loaders, and its trials end as each does by itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, RandomSampler, Subset, TensorDataset, WeightedRandomSampler, random_split

from lightning_hp.fit.fused import feed
from lightning_hp.fit.fused.resident import Resident
from lightning_hp.samplers import Random
from lightning_hp.space import Space
from tests.fit.fused.digits import SPACE, Classifier, assert_alike, loaders, trained


class Several(Classifier):
    """Takes batches of several training loaders, and of several validation loaders."""

    def training_step(self, batch, batch_idx):
        parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch[0], list) else [batch]
        return sum(super(Several, self).training_step(part, batch_idx) for part in parts)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]), add_dataloader_idx=False)


class Digits(LightningDataModule):
    """Splits in setup; its training loader is new in each epoch."""

    def setup(self, stage):
        data = loaders()[0].dataset
        self.parts = random_split(data, [150, 50])

    def train_dataloader(self):
        return DataLoader(self.parts[0], batch_size=32, shuffle=True, pin_memory=torch.cuda.is_available())

    def val_dataloader(self):
        return DataLoader(self.parts[1], batch_size=20)


def many():
    train, val = loaders()
    weighted = DataLoader(train.dataset, batch_size=32, sampler=WeightedRandomSampler(torch.arange(1.0, 201), 200))
    return train, weighted, val


def a_list():
    train, weighted, val = many()
    return [train, weighted], val


def a_dict():
    train, weighted, val = many()
    return {"one": train, "two": weighted}, val


def combined():
    train, weighted, val = many()
    return CombinedLoader({"one": train, "two": weighted}, "min_size"), CombinedLoader(val, "sequential")


def replacement():
    data = loaders()[0].dataset
    sampler = RandomSampler(data, replacement=True, num_samples=100, generator=torch.Generator().manual_seed(3))
    return DataLoader(data, batch_size=32, sampler=sampler, drop_last=True), loaders()[1]


SOURCES = {
    "loaders": (Classifier, loaders, {}),
    "a data module": (Classifier, Digits, {}),
    "a data module, anew each epoch": (Classifier, Digits, {"reload_dataloaders_every_n_epochs": 1}),
    "a list": (Several, a_list, {}),
    "a dict": (Several, a_dict, {}),
    "combined": (Several, combined, {}),
    "a sampler": (Classifier, replacement, {}),
    "overfitting": (Classifier, loaders, {"overfit_batches": 3}),
}


@pytest.fixture(params=[False, True], ids=["from the host", "from copies"])
def copied(request, monkeypatch):
    """Whether batches are taken from copies, as for a device, and those that were."""
    taken = []

    class Watched(Resident):
        def of(self, dataset):
            copies = super().of(dataset)
            if copies is not None and self.wanted:
                taken.append(copies)
            return copies

    if request.param:
        watched = lambda trainer: Watched(torch.device("cpu"), free=lambda device: 2**40)  # noqa: E731
        monkeypatch.setattr(feed, "resident_for", watched)
    return SimpleNamespace(asked=request.param, taken=taken)


@pytest.mark.parametrize("name", SOURCES)
def test_trials_end_as_each_by_itself(name, copied, tmp_path, monkeypatch):
    kind, data, settings = SOURCES[name]
    alone = trained(kind, tmp_path / "alone", False, data=data, trainer=settings)
    asked = []
    one = TensorDataset.__getitem__
    monkeypatch.setattr(TensorDataset, "__getitem__", lambda self, index: asked.append(index) or one(self, index))
    fused = trained(kind, tmp_path / "fused", True, data=data, trainer=settings)
    for number in alone:
        assert alone[number].state == "complete", alone[number].traceback
        assert_alike(fused[number], alone[number])
    assert asked == []
    assert bool(copied.taken) == copied.asked


def test_hooks_see_the_loaders_as_they_are(copied, tmp_path):
    class Looking(Classifier):
        def configure_optimizers(self):
            looked.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

        def on_train_epoch_end(self):
            loader = self.trainer.train_dataloader
            looked.append((len(loader), len(loader.dataset), type(loader.dataset), loader.batch_size))
            # No copy would show that.
            data.tensors[0].data.fill_(5)
            looked.append({x.unique().item() for x, _ in loader})

    images = torch.zeros(200, 64)
    data = TensorDataset(images, torch.arange(200) % 10)
    looked = []
    val = loaders()[1]
    made = trained(
        Looking,
        tmp_path,
        True,
        data=lambda: (DataLoader(data, batch_size=50, shuffle=True), val),
        trainer={"max_epochs": 1, "num_sanity_val_steps": 0},
        trials=2,
    )
    assert [outcome.state for outcome in made.values()] == ["complete"] * 2, made[0].traceback
    assert looked == [4, 4, (4, 200, TensorDataset, 50), {5.0}, (4, 200, TensorDataset, 50), {5.0}]


def test_edits_by_hooks_are_seen_in_the_next_epoch(copied, tmp_path):
    def labels_turn(root, together):
        class Turning(Classifier):
            def on_train_epoch_end(self):
                # All trials of a fused fit share the data: only one of them edits.
                if self.lr == first:
                    data.tensors[1].copy_((data.tensors[1] + 1) % 10)

        data = TensorDataset(*(tensor[:200].clone() for tensor in loaders()[0].dataset.dataset.tensors))
        val = DataLoader(Subset(data, range(50)), batch_size=50)
        made = lambda: (DataLoader(data, batch_size=32, shuffle=True), val)  # noqa: E731
        return trained(Turning, root, together, trials=2 if together else 1, data=made, trainer={"max_epochs": 4})

    first = Random().propose(Space(SPACE), 0, range(1), [])[0]["lr"]
    alone = labels_turn(tmp_path / "alone", False)
    fused = labels_turn(tmp_path / "fused", True)
    assert_alike(fused[0], alone[0])


def test_the_users_loaders_are_not_changed(tmp_path):
    train, val = loaders()
    both = CombinedLoader({"train": train}, "min_size")
    states = [dict(vars(each)) for each in (train, val)]

    class One(Classifier):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["train"], batch_idx)

    made = trained(One, tmp_path, True, data=lambda: (both, val))
    assert [outcome.state for outcome in made.values()] == ["complete"] * 3, made[0].traceback
    assert [dict(vars(each)) for each in (train, val)] == states
    assert both.iterables == {"train": train}
    assert type(train) is type(val) is DataLoader


def strategy_on(device):
    return SimpleNamespace(root_device=torch.device(device))


class Elsewhere(LightningDataModule):
    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch


class Before(LightningDataModule):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        return batch


class After(LightningDataModule):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch


@pytest.mark.parametrize(
    ("device", "datamodule", "stays"),
    [
        ("cpu", None, False),
        ("cuda:0", None, True),
        ("cuda:0", Digits, True),
        ("cuda:0", After, True),
        ("cuda:0", Before, False),
        ("cuda:0", Elsewhere, False),
    ],
)
def test_data_stay_on_a_device_unless_someone_sees_their_way_there(device, datamodule, stays):
    trainer = SimpleNamespace(strategy=strategy_on(device), datamodule=datamodule() if datamodule else None)
    assert (feed.resident_for(trainer) is not None) == stays
