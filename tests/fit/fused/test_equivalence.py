"""A trial that trains with others ends as it does by itself."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.optim import lr_scheduler
from torchmetrics.classification import MulticlassAccuracy

from lightning_hp import Babysitter, Linear, Log, ReverseLog
from lightning_hp.samplers import Random
from lightning_hp.space import Space
from tests.fit.fused.digits import SPACE, Classifier, assert_alike, assert_same_curves, trained


class Convolutional(Classifier):
    """Like the transformer without a bias whose gradient is zero but for rounding, which Adam and RMSprop blow up."""

    def make(self):
        conv = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        )
        return nn.Sequential(conv, nn.Flatten(), nn.Linear(36, 10))


class Transformer(Classifier):
    def make(self):
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, bias=False)
        return nn.Sequential(
            nn.Unflatten(1, (8, 8)),
            nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
            nn.Flatten(),
            nn.Linear(64, 10),
        )


class Embedding(Classifier):
    def make(self):
        return nn.Sequential(nn.Embedding(17, 4), nn.LayerNorm(4), nn.Flatten(), nn.Linear(256, 10))

    def training_step(self, batch, batch_idx):
        return super().training_step(((batch[0] * 16).long(), batch[1]), batch_idx)

    def validation_step(self, batch, batch_idx):
        super().validation_step(((batch[0] * 16).long(), batch[1]), batch_idx)


class Plateau(Classifier):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


class PlateauInSteps(Classifier):
    """Lowers lr within the epoch, by what the training steps log."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.1)
        how = {"scheduler": schedule, "monitor": "train_loss_step", "interval": "step", "frequency": 2}
        return {"optimizer": optimizer, "lr_scheduler": how}


class OneCycle(Classifier):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Grouped(Classifier):
    """Layers with rates of their own, a schedule by epoch, a frozen parameter and one that nothing uses."""

    def make(self):
        net = super().make()
        net[0].bias.requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))
        return net

    def configure_optimizers(self):
        groups = [
            {"params": [*self.net[0].parameters(), self.unused], "lr": self.lr / 3},
            {"params": self.net[2].parameters(), "weight_decay": 0.1 * self.momentum},
        ]
        optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=0.5, nesterov=True, weight_decay=0.01)
        return [optimizer], [lr_scheduler.StepLR(optimizer, 1, 0.5)]


class Lookahead(torch.optim.Optimizer):
    """Goes back a part of the way every third step, further where the loss is low."""

    def __init__(self, inner):
        super().__init__(inner.param_groups, inner.defaults)
        self.inner, self.steps = inner, 0
        self.slow = [parameter.detach().clone() for parameter in inner.param_groups[0]["params"]]

    def step(self, closure=None):
        loss = self.inner.step(closure)
        self.steps += 1
        if self.steps % 3 == 0:
            for slow, parameter in zip(self.slow, self.param_groups[0]["params"], strict=True):
                slow.lerp_(parameter.detach(), 0.2 + 0.1 * float(loss))
                parameter.data.copy_(slow)
        return loss


class LookingAhead(Classifier):
    def configure_optimizers(self):
        return Lookahead(super().configure_optimizers())


class Rprop(Classifier):
    """No rule for this optimizer: it steps trial by trial."""

    def configure_optimizers(self):
        return torch.optim.Rprop(self.parameters(), self.lr / 10)


class Measured(Classifier):
    """Metric objects, logged themselves, as values, and by hand at the end of the epoch."""

    def make(self):
        self.accuracy = MulticlassAccuracy(10)
        self.each = MulticlassAccuracy(10, average="micro")
        self.by_hand = MulticlassAccuracy(10)
        return super().make()

    def training_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        self.log("train_acc", self.each(logits, batch[1]), on_step=False, on_epoch=True)
        return {"loss": nn.functional.cross_entropy(logits, batch[1]), "logits": logits.detach()}

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        logits = self.net(batch[0])
        self.accuracy(logits, batch[1])
        self.by_hand.update(logits, batch[1])
        self.log("val_acc", self.accuracy)

    def on_validation_epoch_end(self):
        self.log("by_hand", self.by_hand.compute())
        self.by_hand.reset()


class Numbers(Classifier):
    """Hyperparameters that the step itself reads, and that hooks change."""

    def __init__(self, lr: float, momentum: float, weight: float, smoothing: float):
        super().__init__(lr, momentum)
        self.weights = {"penalty": weight}
        self.loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.save_hyperparameters()
        self.temperature = 1.0

    def on_train_epoch_start(self):
        self.temperature = 1 + self.hparams.weight * self.current_epoch

    def training_step(self, batch, batch_idx):
        penalty = sum(parameter.square().sum() for parameter in self.net.parameters())
        loss = self.loss(self.net(batch[0]) / self.temperature, batch[1]) + self.weights["penalty"] * penalty
        self.log("train_loss", loss * self.hparams.weight, reduce_fx="max", on_step=False, on_epoch=True)
        return loss


class InObject(Classifier):
    """Numbers in an object that is no module."""

    def __init__(self, lr: float, momentum: float, weight: float):
        super().__init__(lr, momentum)
        self.settings = SimpleNamespace(penalty=SimpleNamespace(weight=weight, power=2), name="digits")

    def training_step(self, batch, batch_idx):
        penalty = self.settings.penalty
        size = sum((parameter**penalty.power).sum() for parameter in self.net.parameters())
        return super().training_step(batch, batch_idx) + penalty.weight * size


class Warming(Classifier):
    """What hooks change in all models alike: a number, a list's contents, an object's, and a string that the step goes by."""

    def make(self):
        self.factor, self.pieces, self.by = 1.0, [1.0, 2.0], SimpleNamespace(kind="sum", power=1)
        return super().make()

    def on_train_epoch_start(self):
        self.factor = 1 / (2 + self.current_epoch)
        self.pieces.append(float(self.current_epoch))
        self.by.kind = "mean" if self.current_epoch else "sum"
        self.added = {"power": self.current_epoch}

    def training_step(self, batch, batch_idx):
        pieces = self.pieces[:2]
        total = sum(pieces) if self.by.kind == "sum" else sum(pieces) / len(self.pieces)
        return super().training_step(batch, batch_idx) * self.factor * total + self.added["power"]


class Counting(Classifier):
    """A buffer that the step makes anew."""

    def make(self):
        self.register_buffer("seen", torch.tensor(0.0))
        return super().make()

    def training_step(self, batch, batch_idx):
        self.seen = self.seen + batch[0].mean()
        loss = super().training_step(batch, batch_idx) * (1 + 0.1 * self.seen)
        self.log("seen", self.seen, on_epoch=True, on_step=False, reduce_fx="max")
        return loss


OPTIMIZERS = ("sgd", "adamw", "rmsprop")
KINDS = {
    **{
        f"{kind.__name__} {name}": (kind, name, {})
        for kind in (Classifier, Convolutional, Transformer, Embedding)
        for name in OPTIMIZERS
    },
    **{f"OneCycle {name}": (OneCycle, name, {}) for name in ("sgd", "adamw")},
    "Plateau": (Plateau, "sgd", {"trainer": {"max_epochs": 4}}),
    "Plateau within epochs": (PlateauInSteps, "sgd", {}),
    "double precision": (Convolutional, "adamw", {"trainer": {"precision": "64-true"}}),
    "parameter groups": (Grouped, "sgd", {}),
    "an optimizer without a rule": (Rprop, "sgd", {}),
    "an optimizer around another": (LookingAhead, "sgd", {"trainer": {"accumulate_grad_batches": 2}}),
    "metric objects": (Measured, "sgd", {}),
    "numbers in the step": (Numbers, "sgd", {"space": {**SPACE, "weight": Log(1e-4, 1e-2), "smoothing": Linear(0, 0.3)}}),
    "numbers in an object": (InObject, "sgd", {"space": {**SPACE, "weight": Log(1e-4, 1e-2)}}),
    "numbers that all hooks change alike": (Warming, "sgd", {"trainer": {"max_epochs": 3}}),
    "a buffer made anew": (Counting, "sgd", {}),
    "clipping by norm": (Classifier, "sgd", {"trainer": {"gradient_clip_val": 0.3}}),
    "clipping by value": (Convolutional, "adamw", {"trainer": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}}),
    "accumulation": (OneCycle, "sgd", {"trainer": {"accumulate_grad_batches": 3}}),
    "validation within epochs": (Classifier, "sgd", {"trainer": {"val_check_interval": 0.5}}),
    "every second epoch": (Classifier, "sgd", {"trainer": {"check_val_every_n_epoch": 2, "max_epochs": 4}}),
    "max_steps": (Classifier, "sgd", {"trainer": {"max_epochs": -1, "max_steps": 10}}),
    "a babysitter": (
        Classifier,
        "sgd",
        {"babysitter": Babysitter("val_loss", patience=0), "trainer": {"max_epochs": 5}},
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_fused_trial_ends_as_it_does_by_itself(name, tmp_path, monkeypatch):
    kind, optimizer, settings = KINDS[name]
    monkeypatch.setattr(Classifier, "optimizer", optimizer)
    fused = trained(kind, tmp_path / "fused", True, **settings)
    alone = trained(kind, tmp_path / "alone", False, **settings)
    for number in alone:
        assert alone[number].state == "complete", alone[number].traceback
        assert_alike(fused[number], alone[number])


def test_trials_stop_early_each_for_itself(tmp_path):
    trainer = {"max_epochs": 12, "callbacks": [lambda: EarlyStopping("val_loss", patience=1, min_delta=0.02)]}
    space = {"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99)}
    fused = trained(Classifier, tmp_path / "fused", True, trials=6, space=space, trainer=trainer)
    alone = trained(Classifier, tmp_path / "alone", False, trials=6, space=space, trainer=trainer)
    assert len({outcome.epochs for outcome in alone.values()}) > 1
    for number in alone:
        assert_alike(fused[number], alone[number])


def test_trials_stop_within_an_epoch_each_for_itself(tmp_path):
    class Stopping(Classifier):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if self.trainer.current_epoch == 1 and batch_idx == int(self.momentum * 10) % 4:
                assert outputs["loss"].dim() == 0
                self.trainer.should_stop = True

    assert_all_stop_early(Stopping, tmp_path)


def test_trials_stop_at_a_validation_within_an_epoch_each_for_itself(tmp_path):
    class Stopping(Classifier):
        def on_validation_end(self):
            if (
                self.trainer.current_epoch == 1
                and self.trainer.fit_loop.epoch_loop.batch_idx // 2 == int(self.momentum * 10) % 3
            ):
                self.trainer.should_stop = True

    assert_all_stop_early(Stopping, tmp_path, val_check_interval=2, accumulate_grad_batches=2)


def assert_all_stop_early(kind, root, **trainer):
    settings = {"trials": 4, "trainer": {"max_epochs": 3, **trainer}}
    fused = trained(kind, root / "fused", True, **settings)
    alone = trained(kind, root / "alone", False, **settings)
    for number in alone:
        assert alone[number].epochs == 2
        assert_alike(fused[number], alone[number])
        assert_same_curves(root / "fused", root / "alone", number)


def test_a_diverging_trial_does_not_touch_the_others(tmp_path):
    class Diverging(Classifier):
        def configure_optimizers(self):
            # The middle one of three.
            huge = 1e30 if self.lr == diverging else self.lr
            return torch.optim.SGD(self.parameters(), huge)

    diverging = Random().propose(Space(SPACE), 0, range(3), [])[1]["lr"]
    fused = trained(Diverging, tmp_path / "fused", True)
    alone = trained(Diverging, tmp_path / "alone", False)
    assert [alone[number].state for number in range(3)] == ["complete", "diverged", "complete"]
    for number in range(3):
        assert_alike(fused[number], alone[number])
        assert fused[number].value is None or math.isfinite(fused[number].value)


def test_a_trial_whose_hook_raises_fails_alone(tmp_path):
    class Raising(Classifier):
        def on_validation_epoch_end(self):
            if self.current_epoch == 1 and self.lr == raising:
                raise ValueError("not this one")

    raising = Random().propose(Space(SPACE), 0, range(3), [])[2]["lr"]
    fused = trained(Raising, tmp_path, True)
    assert [fused[number].state for number in range(3)] == ["complete", "complete", "failed"]
    assert fused[2].reason == "ValueError: not this one"
    assert fused[2].epochs == 1
