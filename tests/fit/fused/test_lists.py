"""Modules that keep what their steps give in lists, for a hook at the end of the epoch: the hook sees what it sees alone."""

from __future__ import annotations

from collections import defaultdict, namedtuple

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_hp import Linear, Log, ReverseLog
from lightning_hp.fit.fused import saving
from tests.fit.fused.digits import (
    SPACE,
    Classifier,
    assert_alike,
    assert_the_same_alone,
    recipe_of,
    run,
    trained,
    trials_of,
)


class Keeping(Classifier):
    """Keeps tensors; those below keep other things, elsewhere, or in another way."""

    def make(self):
        self.prepare()
        return super().make()

    def prepare(self):
        self.outputs = []

    def keep(self, logits, batch, batch_idx):
        self.outputs.append(cross_entropy(logits, batch[1]))

    def summary(self):
        """One number of what was kept, which is then cleared."""
        value = torch.stack(self.outputs).mean()
        self.outputs.clear()
        return value

    def validation_step(self, batch, batch_idx):
        self.keep(self.net(batch[0]), batch, batch_idx)

    def on_validation_epoch_end(self):
        self.log("val_loss", self.summary())


class Examples(Keeping):
    """Dicts of tensors, some of which are of the batch, and of plain values."""

    def keep(self, logits, batch, batch_idx):
        self.outputs.append({"logits": logits, "y": batch[1], "number": batch_idx, "name": "digits", "nested": [logits.sum()]})

    def summary(self):
        logits, y = (torch.cat([each[key] for each in self.outputs]) for key in ("logits", "y"))
        assert logits.shape == (100, 10)
        assert [each["number"] for each in self.outputs] == [0, 1]
        assert {each["name"] for each in self.outputs} == {"digits"}
        assert all(each["nested"][0].dim() == 0 for each in self.outputs)
        # They are the trial's own.
        self.outputs[0]["logits"].zero_()
        self.outputs[0]["name"] = "changed"
        self.outputs.clear()
        return cross_entropy(logits, y)


Pair = namedtuple("Pair", "logits y")


class Tuples(Keeping):
    def keep(self, logits, batch, batch_idx):
        self.outputs.append((logits, Pair(logits.argmax(1), batch[1])))

    def summary(self):
        assert all(type(each) is tuple and type(each[1]) is Pair for each in self.outputs)
        value = torch.cat([cross_entropy(logits, pair.y, reduction="none") for logits, pair in self.outputs]).mean()
        self.log("val_acc", torch.cat([pair.logits == pair.y for _, pair in self.outputs]).float().mean())
        self.outputs.clear()
        return value


class Several(Keeping):
    """More than one thing a batch, by extend and +=; the hook has another list in its place."""

    def keep(self, logits, batch, batch_idx):
        self.outputs.extend(cross_entropy(logits, batch[1], reduction="none"))
        self.outputs += [logits.square().mean(), batch[0].mean()]

    def summary(self):
        assert len(self.outputs) == 104
        value = torch.stack(self.outputs).mean()
        self.outputs = []
        return value


class InDict(Keeping):
    """Training and validation outputs under names."""

    def prepare(self):
        self.outputs = {"train": [], "val": []}

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.outputs["train"].append({"loss": loss})
        return loss

    def keep(self, logits, batch, batch_idx):
        self.outputs["val"].append(cross_entropy(logits, batch[1]))

    def on_train_epoch_end(self):
        assert len(self.outputs["train"]) == self.trainer.num_training_batches
        self.log("kept", torch.stack([each["loss"].detach() for each in self.outputs["train"]]).mean())
        self.outputs["train"].clear()

    def summary(self):
        value = torch.stack(self.outputs["val"]).mean()
        self.outputs["val"].clear()
        return value


class InDefaultDict(InDict):
    def prepare(self):
        self.outputs = defaultdict(list)

    def summary(self):
        assert list(self.outputs) in (["val"], ["train", "val"], ["val", "train"])
        return torch.stack(self.outputs.pop("val")).mean()


class SetDefault(Keeping):
    def prepare(self):
        self.outputs = {}

    def keep(self, logits, batch, batch_idx):
        self.outputs.setdefault(f"of batch {batch_idx}", []).append(cross_entropy(logits, batch[1]))

    def summary(self):
        values = torch.stack([value for values in self.outputs.values() for value in values])
        self.outputs.clear()
        return values.mean()


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32, 10)
        self.kept = []

    def forward(self, x):
        self.kept.append(x.square().mean())
        return self.layer(x)


class InSubmodule(Classifier):
    """In training, too, of which only the last are looked at."""

    def make(self):
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), Head())

    def on_validation_epoch_end(self):
        self.log("kept", torch.stack(self.net[2].kept).mean())

    def on_train_epoch_end(self):
        assert len(self.net[2].kept) > self.trainer.num_training_batches
        self.net[2].kept.clear()


class Helper:
    def __init__(self):
        self.store = {"losses": []}

    def add(self, value):
        self.store["losses"].append(value)

    def take(self):
        values, self.store["losses"] = self.store["losses"], []
        return torch.stack(values)


class InHelper(Keeping):
    def prepare(self):
        self.helper = Helper()

    def keep(self, logits, batch, batch_idx):
        self.helper.add(cross_entropy(logits, batch[1]))

    def summary(self):
        return self.helper.take().mean()


class MadeByHooks(Keeping):
    def prepare(self):
        pass

    def on_validation_epoch_start(self):
        self.outputs = []

    def summary(self):
        value = torch.stack(self.outputs).mean()
        self.outputs = None
        return value


class Remembering(Keeping):
    """What hooks keep for longer, and the step asks the list how long it is."""

    def prepare(self):
        self.outputs, self.history, self.best, self.first = [], [], [], []

    def keep(self, logits, batch, batch_idx):
        super().keep(logits, batch, batch_idx)
        if len(self.first) < 3:
            self.first.append(logits)

    def summary(self):
        value = super().summary()
        self.history.append(value.item())
        self.best.append({"value": value})
        self.log("first", torch.cat(self.first).square().mean())
        return value + sum(self.history) + self.best[0]["value"]

    def on_fit_end(self):
        assert len(self.first) == 3
        # Of the sanity check and two epochs.
        assert len(self.history) == len(self.best) == 3


class ByBatch(Keeping):
    """A hook that runs at each batch takes what there is every third time."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.outputs.append(loss)
        assert len(self.outputs) <= 3
        return loss

    def validation_step(self, batch, batch_idx):
        Classifier.validation_step(self, batch, batch_idx)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        torch.testing.assert_close(self.outputs[-1].detach(), outputs["loss"])
        if len(self.outputs) == 3:
            self.log("of three", torch.stack(self.outputs).mean().detach())
            self.outputs = []

    def on_validation_epoch_end(self):
        pass


class Cleared(Callback):
    """A callback takes the outputs."""

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("val_loss", torch.stack(pl_module.outputs).mean())
        pl_module.outputs.clear()


class ForCallback(Keeping):
    def on_validation_epoch_end(self):
        pass


class Weighed(Keeping):
    """A number that differs between the trials has a part in what is kept, and there are others."""

    def __init__(self, lr, momentum, weight):
        super().__init__(lr, momentum)
        self.weights = [1.0, weight]

    def keep(self, logits, batch, batch_idx):
        self.outputs.append(self.weights[1] * cross_entropy(logits, batch[1]))


KINDS = {
    "tensors": (Keeping, {}),
    "dicts": (Examples, {}),
    "tuples": (Tuples, {}),
    "several": (Several, {}),
    "a dict of lists": (InDict, {}),
    "a defaultdict": (InDefaultDict, {}),
    "setdefault": (SetDefault, {}),
    "a submodule": (InSubmodule, {}),
    "a helper": (InHelper, {}),
    "made by hooks": (MadeByHooks, {}),
    "kept for longer": (Remembering, {}),
    "a hook at each batch": (ByBatch, {}),
    "a callback": (ForCallback, {"trainer": {"callbacks": [Cleared]}}),
    "a number of each trial's": (Weighed, {"space": {**SPACE, "weight": Linear(0.1, 2)}}),
    "no sanity check": (Examples, {"trainer": {"num_sanity_val_steps": 0}}),
    "accumulation": (InDict, {"trainer": {"accumulate_grad_batches": 3}}),
    "validation within epochs": (InDict, {"trainer": {"val_check_interval": 0.5}}),
    "validation within epochs, a defaultdict": (InDefaultDict, {"trainer": {"val_check_interval": 0.5}}),
    "validation within epochs, a submodule": (InSubmodule, {"trainer": {"val_check_interval": 0.5}}),
}


@pytest.mark.parametrize("name", KINDS)
def test_hooks_see_in_lists_what_they_see_alone(name, tmp_path):
    kind, settings = KINDS[name]
    assert_the_same_alone(kind, tmp_path, **settings)


def test_trials_that_stop_leave_the_others_lists_whole(tmp_path):
    trainer = {"max_epochs": 12, "callbacks": [lambda: EarlyStopping("val_loss", patience=1, min_delta=0.02)]}
    space = {"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99)}
    fused = trained(InDict, tmp_path / "fused", True, trials=6, space=space, trainer=trainer)
    alone = trained(InDict, tmp_path / "alone", False, trials=6, space=space, trainer=trainer)
    assert len({outcome.epochs for outcome in alone.values()}) > 1
    for number in alone:
        assert_alike(fused[number], alone[number])


def test_trials_that_stop_within_an_epoch_take_what_they_have(tmp_path):
    class Stopping(InDict):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if self.trainer.current_epoch == 1 and batch_idx == int(self.momentum * 10) % 4:
                self.trainer.should_stop = True

        def on_train_epoch_end(self):
            self.log("count", float(len(self.outputs["train"])))
            self.outputs["train"].clear()

    fused = trained(Stopping, tmp_path / "fused", True, trials=4, trainer={"max_epochs": 3})
    alone = trained(Stopping, tmp_path / "alone", False, trials=4, trainer={"max_epochs": 3})
    assert len({outcome.metrics["count"][-1] for outcome in alone.values()}) > 1
    for number in alone:
        assert_alike(fused[number], alone[number])


@pytest.mark.parametrize("first", ["together", "alone"])
def test_an_interrupted_job_goes_on(first, tmp_path, monkeypatch):
    class Interrupted(InDict):
        epoch = None

        def on_train_epoch_start(self):
            if self.current_epoch == self.epoch:
                raise KeyboardInterrupt

    monkeypatch.setattr(saving, "PARTS", 0)
    whole = trained(InDict, tmp_path / "whole", False, trainer={"max_epochs": 3})
    recipe = recipe_of(Interrupted, tmp_path / "study", trainer={"max_epochs": 3})
    trials = trials_of(recipe)
    monkeypatch.setattr(Interrupted, "epoch", 1)
    for job in [trials] if first == "together" else [[trial] for trial in trials]:
        with pytest.raises(KeyboardInterrupt):
            run(recipe, [job])
    monkeypatch.setattr(Interrupted, "epoch", None)
    resumed = run(recipe, [trials] if first == "alone" else [[trial] for trial in trials])
    for number in whole:
        assert_alike(resumed[number], whole[number])


def test_no_graph_is_kept(tmp_path):
    class Looking(InDict):
        def on_train_epoch_end(self):
            assert not any(each["loss"].requires_grad for each in self.outputs["train"])
            super().on_train_epoch_end()

    made = trained(Looking, tmp_path, True)
    assert {outcome.state for outcome in made.values()} == {"complete"}, made[0].traceback
