"""Whatever of modules, callbacks and Trainer arguments is combined, a fused trial ends and logs as it does by itself."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Subset
from torchmetrics.classification import MulticlassAccuracy

from lightning_hp import Linear
from tests.fit.fused.digits import SPACE, Classifier, assert_the_same_alone, loaders

# Drawn small: far from where rounding grows from step to step.
RATE = 0.1
NETWORKS = {
    "perceptron": lambda: nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)),
    "normalized": lambda: nn.Sequential(nn.Linear(64, 16, bias=False), nn.BatchNorm1d(16), nn.SiLU(), nn.Linear(16, 10)),
    "convolutional": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 10)
    ),
    "attentive": lambda: nn.Sequential(
        nn.Unflatten(1, (8, 8)),
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True),
        nn.Flatten(),
        nn.Linear(64, 10),
    ),
}
LOSSES = {
    "plain": lambda model, logits, y: functional.cross_entropy(logits, y),
    "smoothed": lambda model, logits, y: functional.cross_entropy(logits, y, label_smoothing=model.share / 5),
    "weighted": lambda model, logits, y: functional.cross_entropy(logits, y) + model.share * logits.square().mean(),
    "warmer": lambda model, logits, y: functional.cross_entropy(logits, y) * (1 + model.share * model.current_epoch),
    "softened": lambda model, logits, y: functional.cross_entropy(logits / (1 + model.share), y) ** (1 + model.share),
}
OPTIMIZERS = {
    "sgd": lambda model: torch.optim.SGD(model.net.parameters(), RATE * model.lr, model.momentum, nesterov=True),
    "groups": lambda model: torch.optim.SGD(
        [{"params": [each], "weight_decay": model.share / (10 + each.numel())} for each in model.net.parameters()],
        RATE * model.lr,
        model.momentum,
    ),
    "rmsprop": lambda model: torch.optim.RMSprop(model.net.parameters(), RATE**2 * model.lr, eps=1e-3),
    "adamw": lambda model: torch.optim.AdamW(model.net.parameters(), RATE * model.lr, eps=1e-3, weight_decay=model.share),
    "without a rule": lambda model: torch.optim.Adadelta(model.net.parameters(), model.lr, eps=1e-3),
}
SCHEDULES = {
    "none": None,
    "by epoch": lambda model, optimizer: lr_scheduler.ExponentialLR(optimizer, model.momentum),
    "by step": lambda model, optimizer: {"scheduler": lr_scheduler.CosineAnnealingLR(optimizer, 9), "interval": "step"},
    "plateau": lambda model, optimizer: {
        "scheduler": lr_scheduler.ReduceLROnPlateau(optimizer, factor=model.share, patience=0),
        "monitor": "train_loss",
    },
}
LOGGED = [{}, {"on_epoch": True}, {"on_step": False, "on_epoch": True, "reduce_fx": "max"}, {"prog_bar": True, "batch_size": 7}]


class Drawn(Classifier):
    """Made of what is drawn; its hooks are of those that were."""

    parts: dict

    def __init__(self, lr, momentum, share):
        super().__init__(lr, momentum)
        self.share = share
        self.accuracy = MulticlassAccuracy(10)

    def make(self):
        return NETWORKS[self.parts["network"]]()

    def training_step(self, batch, batch_idx):
        loss = LOSSES[self.parts["loss"]](self, self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        self.log("shown", loss * self.share, **self.parts["logged"])
        return {"loss": loss, "share": self.share * loss.detach()} if self.parts["mapping"] else loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        logits = self.net(batch[0])
        if dataloader_idx == 0:
            self.log("val_loss", functional.cross_entropy(logits, batch[1]), add_dataloader_idx=False)
        # It goes on with the next loader.
        self.accuracy(logits, batch[1])
        self.log("acc", self.accuracy, on_step=self.parts["mapping"], on_epoch=True)

    def configure_optimizers(self):
        optimizer, schedule = OPTIMIZERS[self.parts["optimizer"]](self), SCHEDULES[self.parts["schedule"]]
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule(self, optimizer)}


def decay(self):
    with torch.no_grad():
        for each in self.net.parameters():
            each.mul_(1 - self.share / 10)


def slow_down(self):
    for group in self.optimizers().param_groups:
        group["lr"] *= self.share


def note(self, outputs, batch, batch_idx):
    self.log("noted", outputs["loss"] * self.share, on_step=False, on_epoch=True)


def measure(self):
    self.log("size", self.net[-1].weight.norm())


HOOKS = {
    "on_train_epoch_end": decay,
    "on_train_epoch_start": slow_down,
    "on_train_batch_end": note,
    "on_validation_epoch_end": measure,
}


class Looking(Callback):
    """Logs what callbacks are shown."""

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("seen", trainer.callback_metrics["train_loss"] + trainer.callback_metrics["val_loss"])


CALLBACKS = {
    "looking": Looking,
    "stopping": partial(EarlyStopping, "val_loss", min_delta=0.01, patience=0),
    "keeping": partial(ModelCheckpoint, monitor="train_loss", filename="{epoch}"),
}


def data_of(count):
    train, val = loaders()
    more = DataLoader(Subset(val.dataset, range(40)), batch_size=30)
    return train, [val, more] if count == 2 else val


PARTS = st.fixed_dictionaries(
    {
        **{name: st.sampled_from(sorted(each)) for name, each in {"network": NETWORKS, "loss": LOSSES}.items()},
        **{name: st.sampled_from(sorted(each)) for name, each in {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}.items()},
        "logged": st.sampled_from(LOGGED),
        "mapping": st.booleans(),
    }
)
TRAINER = st.fixed_dictionaries(
    {
        "max_epochs": st.just(3),
        "log_every_n_steps": st.sampled_from([1, 3]),
    },
    optional={
        "accumulate_grad_batches": st.just(2),
        "gradient_clip_val": st.sampled_from([0.05, 1.0]),
        "val_check_interval": st.sampled_from([2, 0.5]),
        "max_steps": st.just(11),
        "limit_train_batches": st.sampled_from([2, 0.5]),
        "num_sanity_val_steps": st.sampled_from([0, -1]),
        "reload_dataloaders_every_n_epochs": st.just(1),
    },
)


@pytest.mark.slow
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    # To shrink what fails takes minutes, and says little more than the combination does.
    phases=(Phase.explicit, Phase.generate),
)
@given(
    parts=PARTS,
    hooks=st.sets(st.sampled_from(sorted(HOOKS))),
    callbacks=st.sets(st.sampled_from(sorted(CALLBACKS))),
    validation=st.sampled_from([1, 2]),
    trainer=TRAINER,
)
def test_combinations(parts, hooks, callbacks, validation, trainer):
    model = type("Combined", (Drawn,), {"parts": parts, **{name: HOOKS[name] for name in hooks}})
    asked = {**trainer, "callbacks": [CALLBACKS[name] for name in sorted(callbacks)]}
    space = {**SPACE, "share": Linear(0.1, 0.9)}
    with tempfile.TemporaryDirectory() as folder:
        assert_the_same_alone(model, Path(folder), space=space, data=partial(data_of, validation), trainer=asked)
