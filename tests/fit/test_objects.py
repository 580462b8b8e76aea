"""Objects that a module puts into its checkpoints: there for those who trust the file, never opened by a search."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torchmetrics import MeanMetric

from examples.digits import LitDigits
from lightning_hp import Choice, Log
from lightning_hp.fit.checkpoints import LAST
from lightning_hp.fit.objects import fingerprints

SPACE = {"lr": Log(0.05, 0.5)}
EPOCHS = 3


class Encoder:
    """What a module is made with, and needs to be used: no tensor and no plain value."""

    opened = 0

    def __init__(self, classes):
        self.classes = classes

    def __setstate__(self, state):
        type(self).opened += 1
        vars(self).update(state)


class Encoding(LitDigits):
    """Keeps all that makes it in its checkpoints, as forecasting and chemistry libraries do."""

    def __init__(self, lr, encoder=None, seen=None, interrupt=None):
        super().__init__(lr=lr, hidden=16)
        self.save_hyperparameters({"encoder": encoder, "seen": seen})
        self.encoder, self.seen, self.interrupt = encoder or Encoder([*"0123456789"]), seen or MeanMetric(), interrupt
        self.given = None

    def training_step(self, batch, batch_idx):
        found = super().training_step(batch, batch_idx)
        # Leaves a state in it, which is no weight.
        self.seen.update(found.detach())
        return found

    def on_train_epoch_start(self):
        if self.current_epoch == self.interrupt:
            raise KeyboardInterrupt

    def on_save_checkpoint(self, checkpoint):
        checkpoint["made with"] = {"encoders": [self.encoder], "seen": self.seen, "classes": 10}
        checkpoint["hyper_parameters"]["seen"] = self.seen

    def on_load_checkpoint(self, checkpoint):
        self.given = checkpoint["made with"]
        self.encoder, self.seen = self.given["encoders"][0], self.given["seen"]


class Learning(Encoding):
    """Its encoder learns while it trains."""

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.encoder.classes.append(self.current_epoch)


def make(search, root, interrupt=None, kind=Encoding, fuse="never", **changes):
    def factory(lr):
        return kind(lr=lr, interrupt=interrupt)

    factory.__qualname__ = kind.__name__
    arguments = {"trials": 1, "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu"}, "space": SPACE} | changes
    return search(factory, root_dir=root, fuse=fuse, **arguments)


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_the_best_checkpoint_has_all_that_the_modules_own_loading_needs(search, tmp_path, fuse):
    trials = 1 if fuse == "never" else 2
    study = make(search, tmp_path / "study", kind=Kept, fuse=fuse, trials=trials).run()
    assert [(each.state, each.reason) for each in study.trials] == [("complete", None)] * trials
    model = Kept.load_from_checkpoint(study.best.checkpoint, weights_only=False)
    assert model.encoder.classes == [*"0123456789"]
    assert model.given["classes"] == 10
    assert all(torch.equal(value, study.best.load().state_dict()[name]) for name, value in model.state_dict().items())


class Kept(Encoding):
    """The same without what cannot be fused."""

    training_step = LitDigits.training_step


def test_no_object_is_opened_where_a_search_reads_its_checkpoints(search, tmp_path):
    make(search, tmp_path / "study", trials=1).run()
    with pytest.raises(KeyboardInterrupt):
        make(search, tmp_path / "other", 2).run()
    Encoder.opened = 0
    study = make(search, tmp_path / "other").run()
    given = study.best.load().given
    assert Encoder.opened == 0
    assert given["encoders"][0].classes == [*"0123456789"]
    assert given["classes"] == 10


def test_an_interrupted_trial_goes_on_with_its_modules_own_objects(search, tmp_path, recwarn):
    seen = Counter()

    class Watches(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            assert isinstance(pl_module.encoder, Encoder)
            assert pl_module.seen in list(pl_module.modules())
            seen[trainer.current_epoch] += 1

    trainer = {"max_epochs": EPOCHS, "accelerator": "cpu", "callbacks": [Watches]}
    with pytest.raises(KeyboardInterrupt):
        make(search, tmp_path / "study", 2, trainer=trainer).run()
    resumed = make(search, tmp_path / "study", trainer=trainer).run().best
    assert seen == {0: 1, 1: 1, 2: 2}
    whole = make(search, tmp_path / "whole", trainer=trainer).run().best
    assert (resumed.value, resumed.metrics) == (whole.value, whole.metrics)
    assert not [str(each.message) for each in recwarn if "ckpt" in str(each.message) or "read back" in str(each.message)]


def test_a_trial_whose_objects_change_as_it_trains_is_told_to_begin_anew_if_interrupted(search, tmp_path):
    with (
        pytest.warns(UserWarning, match=r"made with\.encoders\[0\] of type Encoder\. If interrupted, the trial would start"),
        pytest.raises(KeyboardInterrupt),
    ):
        make(search, tmp_path / "study", 2, Learning).run()
    with pytest.warns(UserWarning, match="the trial starts from zero"):
        study = make(search, tmp_path / "study", kind=Learning).run()
    with pytest.warns(UserWarning, match=r"Learning has saved as made with\.encoders\[0\] .* weights_only=False\) reads it"):
        loaded = study.best.load()
    assert loaded.encoder.classes == [*"0123456789"]
    whole = Learning.load_from_checkpoint(study.best.checkpoint, weights_only=False)
    assert whole.encoder.classes[10:] == list(range(study.best.metrics["val_acc"].index(study.best.value) + 1))


def test_a_modules_own_plain_values_are_in_its_best_checkpoint_too(search, tmp_path):
    class Averaging(LitDigits):
        def on_save_checkpoint(self, checkpoint):
            checkpoint["average"] = {name: value + 1 for name, value in self.state_dict().items()}

        def on_load_checkpoint(self, checkpoint):
            self.average = checkpoint["average"]

    study = search(Averaging, space=SPACE, trials=1).run()
    assert torch.load(study.best.checkpoint, weights_only=True).keys().isdisjoint({"optimizer_states", "callbacks", "loops"})
    for model in (study.best.load(), Averaging.load_from_checkpoint(study.best.checkpoint)):
        assert all(torch.equal(model.average[name], value + 1) for name, value in model.state_dict().items())


def test_hyperparameters_that_are_objects_are_in_the_best_checkpoint_for_the_modules_own_loading(search, tmp_path):
    class Saving(LitDigits):
        def __init__(self, lr, layer=nn.ReLU, parts=None, unpickled=None):
            super().__init__(lr=lr)
            self.save_hyperparameters()
            self.extra = layer()

    def factory(lr, layer):
        return Saving(lr, layer, {"layer": [layer], "width": 16}, lambda: None)

    study = search(factory, space={**SPACE, "layer": Choice(nn.Tanh, nn.GELU)}, trials=1).run()
    best = study.best
    for model in (best.load(), Saving.load_from_checkpoint(best.checkpoint, weights_only=False)):
        assert type(model.extra) is best.hparams["layer"]
        assert model.hparams.parts == {"layer": [best.hparams["layer"]], "width": 16}
    # For going on they are of no use.
    last = torch.load(best.checkpoint.with_name(LAST), weights_only=True)
    assert last["hyper_parameters"].keys().isdisjoint({"layer", "unpickled"})


def test_a_copy_is_no_other_object():
    def word():
        return "".join(["me", "an"])

    shared, module = word(), LitDigits()
    objects = {"one": Encoder([shared, shared]), "copy": Encoder([word(), word()]), "other": Encoder([word(), "median"])}
    found = fingerprints(objects, module)
    assert found["one"] == found["copy"] != found["other"]
    for each in objects.values():
        each.classes.append(each)
    again = fingerprints(objects, module)
    assert found["one"] != again["one"] != again["other"]
