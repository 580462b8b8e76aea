"""What a fused trial logs, to TensorBoard, to other loggers and to its callbacks, is what it logs by itself."""

from __future__ import annotations

import csv
from functools import partial

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, Subset
from torchmetrics.classification import MulticlassAccuracy

from lightning_hp.trial import trial_folder
from tests.fit.fused.digits import Classifier, assert_the_same_alone, loaders, trained


class ByStep(Classifier):
    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        self.log("both", loss * 2, True, on_step=True, on_epoch=True)
        self.log("hidden", loss, logger=False)
        return loss


class Reduced(Classifier):
    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        for name in ("sum", "min", "max", "mean"):
            self.log(f"by {name}", loss, on_step=False, on_epoch=True, reduce_fx=name)
        self.log("by function", loss, on_epoch=True, reduce_fx=torch.max)
        self.log("weighed", loss, on_epoch=True, on_step=False, batch_size=batch_idx + 1)
        return loss

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("largest", batch[0].max() * self.net(batch[0]).max(), reduce_fx="max")
        self.log("by step", self.net(batch[0]).mean(), on_step=True, on_epoch=True)


class Whole(Classifier):
    """Whole numbers, and numbers that are no tensors."""

    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        right = (logits.argmax(1) == batch[1]).sum()
        self.log("right", right, on_step=True, on_epoch=True)
        self.log("right in all", right, reduce_fx="sum", on_step=False, on_epoch=True)
        self.log("size", len(batch[0]), on_step=False, on_epoch=True, reduce_fx="sum")
        self.log_dict({"batch": batch_idx, "truth": True}, on_step=False, on_epoch=True)
        return nn.functional.cross_entropy(logits, batch[1])


class FromHooks(Classifier):
    """Logs where there is no step."""

    def on_train_epoch_start(self):
        self.log("at the start", self.lr * (1 + self.current_epoch))

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.log("after a batch", outputs["loss"] * 2)

    def on_train_epoch_end(self):
        self.log("at the end", self.net[0].weight.norm())
        self.log("loss again", self.trainer.callback_metrics["train_loss_epoch"])

    def on_validation_epoch_end(self):
        self.log("after validation", self.trainer.callback_metrics.get("val_loss", torch.tensor(0.0)) + self.momentum)

    def on_validation_end(self):
        self.logger.log_metrics({"by hand": float(self.net[0].weight.norm())}, self.global_step)


class Counted(Classifier):
    """Epoch and step as a step sees them."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx) * (1 + 0.1 * self.current_epoch)
        self.log("epoch now", float(self.trainer.current_epoch))
        self.log("step now", float(self.global_step))
        return loss + 0.01 * self.global_step * self.net[0].weight.square().sum() / (self.trainer.num_training_batches)


class Two(Classifier):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("each", loss)
        if dataloader_idx == 0:
            self.log("val_loss", loss, add_dataloader_idx=False)


class InOneMetric(Two):
    """The same metric object goes on with the second loader; another is of the first alone."""

    def make(self):
        self.both, self.first = (MulticlassAccuracy(10, average="micro") for _ in range(2))
        return super().make()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        super().validation_step(batch, batch_idx, dataloader_idx)
        logits = self.net(batch[0])
        self.both(logits, batch[1])
        self.log("both", self.both, on_step=True, on_epoch=True)
        if dataloader_idx == 0:
            self.first(logits, batch[1])
            self.log("first", self.first)


def two_loaders():
    train, val = loaders()
    return train, [val, DataLoader(Subset(val.dataset, range(40)), batch_size=30)]


class Unvalidated(LightningModule):
    """No validation, no index of the batch, and hyperparameters of its own making."""

    def __init__(self, lr, momentum):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(64, 10)

    def training_step(self, batch):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.lr, self.hparams.momentum)


class Metered(Classifier):
    """Metric objects that are logged by step."""

    def make(self):
        self.plain, self.both, self.updated = (MulticlassAccuracy(10, average="micro") for _ in range(3))
        return super().make()

    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        self.plain(logits, batch[1])
        self.log("plain", self.plain)
        self.both(logits, batch[1])
        self.log("both", self.both, on_step=True, on_epoch=True, prog_bar=True)
        self.updated.update(logits, batch[1])
        self.log("updated", self.updated, on_step=True, on_epoch=True)
        return nn.functional.cross_entropy(logits, batch[1])


class Named(Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, label = self.data[index]
        return {"image": image, "label": label, "name": f"number {index}"}


def named_loaders():
    train, val = loaders()
    return (
        DataLoader(Named(train.dataset), batch_size=32, shuffle=True),
        DataLoader(Named(val.dataset), batch_size=50),
    )


class OfDicts(Classifier):
    def training_step(self, batch, batch_idx):
        assert batch["name"][0].startswith("number")
        return super().training_step((batch["image"], batch["label"]), batch_idx)

    def validation_step(self, batch, batch_idx):
        super().validation_step((batch["image"], batch["label"]), batch_idx)


class Inner(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))

    def forward(self, x):
        return self.net(x)

    def loss(self, batch):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


class Nested(Classifier):
    """A module of Lightning's in another."""

    def make(self):
        return Inner()

    def training_step(self, batch, batch_idx):
        loss = self.net.loss(batch)
        self.log("train_loss", loss)
        return loss


class Stepped(Classifier):
    def configure_optimizers(self):
        groups = [{"params": self.net[0].parameters(), "name": "body"}, {"params": self.net[2].parameters(), "name": "head"}]
        optimizer = torch.optim.SGD(groups, self.lr, self.momentum)
        return [optimizer], [{"scheduler": lr_scheduler.ExponentialLR(optimizer, 0.9), "interval": "step", "frequency": 2}]


class AtTheEnd(Classifier):
    """Only a hook logs anything of the validation, and others run at each batch."""

    def validation_step(self, batch, batch_idx):
        pass

    def on_train_batch_end(self, outputs, batch, batch_idx):
        pass

    def on_validation_epoch_end(self):
        self.log("val_loss", self.net[0].weight.square().mean())


def monitored(**arguments):
    return {"trainer": {"callbacks": [lambda: LearningRateMonitor(**arguments)]}}


CASES = {
    "by step": (ByStep, {}),
    "at every step": (ByStep, {"trainer": {"log_every_n_steps": 1}}),
    "reductions": (Reduced, {}),
    "whole numbers": (Whole, {}),
    "from hooks": (FromHooks, {}),
    "at the validation's end": (AtTheEnd, {}),
    "at the validation's end, without a sanity check": (AtTheEnd, {"trainer": {"num_sanity_val_steps": 0}}),
    "epoch and step": (Counted, {}),
    "two validation loaders": (Two, {"data": two_loaders}),
    "a metric object of two validation loaders": (InOneMetric, {"data": two_loaders, "trainer": {"max_epochs": 3}}),
    "no validation": (Unvalidated, {"monitor": "train_loss"}),
    "batches that are dicts": (OfDicts, {"data": named_loaders}),
    "a module in a module": (Nested, {}),
    "metric objects by step": (Metered, {"trainer": {"log_every_n_steps": 1}}),
    "a monitor of the training": (Classifier, {"monitor": "train_loss", "trainer": {"val_check_interval": 3}}),
    "a monitor of the steps": (ByStep, {"monitor": "train_loss", "trainer": {"val_check_interval": 3}}),
    "rates": (Stepped, {}),
    "rates by step": (Stepped, monitored(logging_interval="step", log_momentum=True)),
    "rates by epoch": (Stepped, monitored(logging_interval="epoch", log_weight_decay=True)),
    "several validations": (Reduced, {"trainer": {"val_check_interval": 2}}),
    "accumulation": (ByStep, {"trainer": {"accumulate_grad_batches": 2, "log_every_n_steps": 1}}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fused_trial_logs_what_it_logs_by_itself(case, tmp_path):
    kind, settings = CASES[case]
    assert_the_same_alone(kind, tmp_path, **settings)


@pytest.mark.parametrize("kind", [Classifier, FromHooks, Reduced])
def test_the_users_logger_gets_the_same_rows(kind, tmp_path):
    for name, together in (("fused", True), ("alone", False)):
        logger = partial(CSVLogger, tmp_path / name / "csv", name="")
        made = trained(kind, tmp_path / name, together, trainer={"logger": logger})
        assert {outcome.state for outcome in made.values()} == {"complete"}
    for number in range(3):
        ours, theirs = (read(tmp_path / name / "csv" / f"{number:06d}" / "metrics.csv") for name in ("fused", "alone"))
        assert ours.keys() == theirs.keys()
        for key, values in theirs.items():
            assert [step for step, _ in ours[key]] == [step for step, _ in values], key
            assert [value for _, value in ours[key]] == pytest.approx([value for _, value in values], rel=1e-3, abs=1e-4), key


def read(path):
    """A table's columns, each with its steps."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {key: [(int(row["step"]), float(row[key])) for row in rows if row[key]] for key in rows[0] if key != "step"}


def test_callbacks_see_the_same_metrics_at_the_same_time(tmp_path):
    class Looking(Callback):
        def __init__(self):
            self.seen = []
            everyone.append(self.seen)

        def look(self, trainer, hook):
            for kind in ("callback_metrics", "logged_metrics", "progress_bar_metrics"):
                values = {name: round(float(value), 3) for name, value in getattr(trainer, kind).items()}
                self.seen.append((hook, kind, trainer.current_epoch, trainer.global_step, dict(sorted(values.items()))))

        def on_validation_end(self, trainer, pl_module):
            self.look(trainer, "on_validation_end")

        def on_train_epoch_end(self, trainer, pl_module):
            self.look(trainer, "on_train_epoch_end")

        def on_train_end(self, trainer, pl_module):
            self.look(trainer, "on_train_end")

    seen = []
    for together in (True, False):
        everyone = []
        trained(ByStep, tmp_path / str(together), together, trainer={"callbacks": [Looking]})
        # The fused fit's own Trainer makes, and forgets, its arguments too.
        seen.append([each for each in everyone if each])
    assert seen[0] == seen[1]


def written(root):
    """The tags and steps of all scalars of a trial, in the order in which they are in the file."""
    (path,) = trial_folder(root, 0).glob("events.out.tfevents.*")
    values = [(event.step, value.tag) for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    return [(tag, step) for step, tag in values if "hparams" not in tag]


def test_values_and_metric_objects_are_written_in_the_order_in_which_they_are_logged(tmp_path):
    class Mixed(Classifier):
        def __init__(self, **given):
            super().__init__(**given)
            self.first, self.last = MulticlassAccuracy(10), MulticlassAccuracy(10)

        def validation_step(self, batch, batch_idx):
            logits = self.net(batch[0])
            self.first(logits, batch[1])
            self.last(logits, batch[1])
            self.log("first", self.first)
            self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
            self.log("last", self.last)

    assert_the_same_alone(Mixed, tmp_path, trainer={"max_epochs": 3})
    alone = written(tmp_path / "alone")
    assert [tag for tag, _ in alone if tag in ("first", "val_loss", "last")] == ["first", "val_loss", "last"] * 3
    assert written(tmp_path / "fused") == alone
