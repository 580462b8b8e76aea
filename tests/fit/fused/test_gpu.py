"""On a GPU, trials that train as one end as each does by itself there."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy

from lightning_hp.fit.fused import batches, resident, saving, updates
from lightning_hp.fit.fused import graphs as module
from lightning_hp.fit.fused import module as fused_module
from lightning_hp.fit.fused import run as fused_run
from lightning_hp.fit.fused.graphs import StepGraphs
from tests.fit.fused.digits import (
    SPACE,
    Classifier,
    assert_alike,
    assert_the_same_alone,
    loaders,
    recipe_of,
    run,
    trained,
    trials_of,
)

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

# Else its products have ten bits of the numbers.
torch.backends.cudnn.allow_tf32 = False


class Convolutional(Classifier):
    optimizer = "adamw"

    def make(self):
        convolution = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        return nn.Sequential(convolution, nn.Flatten(), nn.Linear(144, 10))


@pytest.mark.parametrize("kind", [Classifier, Convolutional])
@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 0.5}], ids=["plain", "clipped"])
def test_trials_end_as_each_by_itself(kind, settings, tmp_path):
    assert_the_same_alone(kind, tmp_path, trainer={"accelerator": "gpu", **settings})


class Tuned(Convolutional):
    """A head above a frozen network that is the same in all trials and, in training mode, goes on with its averages."""

    def make(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            below = super().make()[0].requires_grad_(False)
        return nn.Sequential(below, nn.Flatten(), nn.Linear(144, 10))


@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 2}], ids=["plain", "accumulated"])
def test_what_is_frozen_is_recorded_from_where_it_stays(settings, graphs, tmp_path):
    assert_the_same_alone(Tuned, tmp_path, trainer={"accelerator": "gpu", "max_epochs": 4, **settings})
    step = graphs[0].step
    assert step.stack.shared.tensors.keys() >= {"net.0.1.weight", "net.0.2.running_mean", "net.0.2.num_batches_tracked"}
    assert all(each.obstacle is None and each._replays > 0 for each in graphs)


class Measured(Convolutional):
    def __init__(self, **hparams):
        super().__init__(**hparams)
        self.accuracy = Accuracy("multiclass", num_classes=10)

    def make(self):
        return nn.Sequential(super().make(), nn.Dropout(0.2))

    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.log_dict({"train_loss": loss, "accuracy": self.accuracy}, on_step=True, on_epoch=True)
        self.accuracy(logits, batch[1])
        return loss


@pytest.fixture
def graphs(monkeypatch):
    """The recorded steps of the fits."""
    found, begin = [], StepGraphs.__init__

    def noted(self, *args):
        begin(self, *args)
        found.append(self)

    monkeypatch.setattr(StepGraphs, "__init__", noted)
    return found


@pytest.mark.parametrize(
    "settings",
    [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}, {"precision": "16-mixed"}],
    ids=["plain", "accumulated", "bf16-mixed", "16-mixed"],
)
def test_replayed_steps_end_as_those_that_are_run(settings, graphs, monkeypatch, tmp_path):
    trainer = {"accelerator": "gpu", "max_epochs": 3, **settings}
    replayed = trained(Measured, tmp_path / "replayed", True, trainer=trainer)
    assert {each.obstacle for each in graphs} == {None}
    assert all(each._replays > 0 for each in graphs)
    monkeypatch.setattr(module, "GRAPHS", {})
    monkeypatch.setattr(updates, "GRAPHS", {})
    monkeypatch.setattr(fused_module, "GRAPHS", {})
    run_each = trained(Measured, tmp_path / "run", True, trainer=trainer)
    for number, outcome in run_each.items():
        assert_alike(replayed[number], outcome)


def test_what_cannot_be_recorded_is_run(graphs, tmp_path):
    class Asking(Classifier):
        def training_step(self, batch, batch_idx):
            # From the host, which a recording may not wait for.
            return super().training_step(batch, batch_idx) * torch.tensor(2.0, device=self.device)

    assert_the_same_alone(Asking, tmp_path, trainer={"accelerator": "gpu", "max_epochs": 3})
    assert {each.obstacle is None for each in graphs if each.name == "training_step"} == {False}


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_trains(precision, tmp_path):
    made = trained(Classifier, tmp_path, True, trainer={"accelerator": "gpu", "precision": precision, "max_epochs": 4})
    for outcome in made.values():
        assert outcome.state == "complete", outcome.traceback
        assert outcome.metrics["val_loss"][-1] < outcome.metrics["val_loss"][0]


def test_an_interrupted_job_goes_on(tmp_path, monkeypatch):
    class Interrupted(Convolutional):
        epoch = None

        def on_train_epoch_start(self):
            if self.current_epoch == self.epoch:
                raise KeyboardInterrupt

    monkeypatch.setattr(saving, "PARTS", 0)
    trainer = {"accelerator": "gpu", "max_epochs": 3}
    whole = trained(Convolutional, tmp_path / "whole", False, space=SPACE, trainer=trainer)
    recipe = recipe_of(Interrupted, tmp_path / "study", trainer=trainer)
    trials = trials_of(recipe)
    monkeypatch.setattr(Interrupted, "epoch", 2)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, [trials])
    monkeypatch.setattr(Interrupted, "epoch", None)
    resumed = run(recipe, [trials])
    for number in whole:
        assert_alike(resumed[number], whole[number])


def pinned():
    train, val = loaders()
    return DataLoader(train.dataset, batch_size=32, shuffle=True, pin_memory=True), val


class Loading(Classifier):
    """Its hook takes a batch of the loader to the host, as if it were there already."""

    def on_train_epoch_end(self):
        assert next(iter(self.trainer.train_dataloader))[0].numpy().shape == (32, 64)


@pytest.mark.parametrize("room", [2**30, 0], ids=["from the device", "from the host"])
@pytest.mark.parametrize("data", [loaders, pinned])
def test_batches_come_from_the_device_where_there_is_room(data, room, tmp_path, monkeypatch):
    seen = set()
    took = batches._taken
    monkeypatch.setattr(resident, "LARGEST", room)
    monkeypatch.setattr(batches, "_taken", lambda tensors, index: seen.add(tensors[0].device.type) or took(tensors, index))
    assert_the_same_alone(Loading, tmp_path, data=data, trainer={"accelerator": "gpu"})
    # The hook's are from the host.
    assert seen == ({"cuda", "cpu"} if room else {"cpu"})


def test_batches_on_the_device_are_those_of_the_loader():
    device = torch.device("cuda", 0)
    dtypes = [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.uint8,
        torch.bool,
        torch.complex64,
    ]
    data = TensorDataset(*(torch.randint(0, 9, (50, *[2] * (each % 3))).to(dtype) for each, dtype in enumerate(dtypes)))
    kept = resident.Resident(device)
    kept.wanted = True
    for pin in (False, True):
        loader = DataLoader(data, batch_size=8, shuffle=True, pin_memory=pin, generator=torch.Generator().manual_seed(1))
        ours = list(batches.taken_at_once(loader, kept))
        loader.generator.manual_seed(1)
        for batch, other in zip(ours, list(loader), strict=True):
            for tensor, expected in zip(batch, other, strict=True):
                assert tensor.device == device
                assert torch.equal(tensor.cpu(), expected)


def test_what_does_not_fit_stays_on_the_host():
    data = TensorDataset(torch.zeros(1).expand(torch.cuda.mem_get_info()[0] // 4))
    assert resident.Resident(torch.device("cuda", 0)).of(data) is None


class Wide(Classifier):
    def make(self):
        return nn.Sequential(nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


@pytest.mark.parametrize("share", [0.8, 0.5, 0.3])
def test_where_memory_is_short_fewer_train_as_one(share, tmp_path, monkeypatch):
    def empty():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    trainer = {"accelerator": "gpu"}
    empty()
    before = torch.cuda.memory_reserved()
    ample = trained(Wide, tmp_path / "ample", True, trials=8, trainer=trainer)
    needed = torch.cuda.max_memory_reserved() - before
    empty()
    sizes, fit = [], fused_run._fit

    def noted(recipe, attempts, *rest):
        sizes.append(len(attempts))
        return fit(recipe, attempts, *rest)

    monkeypatch.setattr(fused_run, "_fit", noted)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((before + share * needed) / total)
    try:
        short = trained(Wide, tmp_path / "short", True, trials=8, trainer=trainer)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sizes[0] == 8
    # With half of it there may be enough if steps are not recorded.
    assert share >= 0.5 or len(sizes) > 1
    for number, outcome in ample.items():
        assert_alike(short[number], outcome)
