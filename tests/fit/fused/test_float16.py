"""A trial that trains in float16 with others ends as it does by itself: with its own loss scale, and its own skipped steps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.amp import GradScaler
from torch.optim import lr_scheduler

from lightning_hp import ConfigError
from lightning_hp.fit.attempt import make_model
from lightning_hp.fit.checkpoints import LAST
from lightning_hp.fit.fused import saving
from tests.fit.fused.digits import Classifier, assert_alike, recipe_of, refused, run, trained, trials_of

EPOCHS = 3


def float16(kind=MixedPrecision, scaler=GradScaler, **settings):
    """What Lightning takes for precision="16-mixed" on a device that has it; it grows until something overflows."""
    return kind("16-mixed", "cpu", scaler("cpu", **{"init_scale": 2.0**15, "growth_interval": 2, **settings}))


class Steep(Classifier):
    """The losses of one trial are so large that their gradients overflow at once, those of the others later."""

    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        self.factor = 300.0 if momentum > 0.9 else 0.1

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss + self.factor * self.net(batch[0]).float().square().mean()


class Clipped(Steep):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class InHalf(Steep):
    """Its loss is in half precision."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx).half()


class Averaged(Steep):
    """No rule for this optimizer: it steps trial by trial."""

    def configure_optimizers(self):
        return torch.optim.ASGD(self.parameters(), self.lr)


class InOneKernel(Steep):
    """Its optimizer unscales gradients by itself."""

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), self.lr / 10, fused=True)


def trainer(**settings):
    return {"max_epochs": EPOCHS, "plugins": [float16], **settings}


CASES = {
    "sgd": (Steep, "sgd", {}),
    "adamw": (Steep, "adamw", {}),
    "rmsprop": (Steep, "rmsprop", {}),
    "unscaled by the optimizer": (InOneKernel, "sgd", {}),
    "no rule": (Averaged, "sgd", {}),
    "a schedule by step, clipped by norm": (Clipped, "adamw", {"gradient_clip_val": 0.5}),
    "clipped by value": (Steep, "sgd", {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    "accumulation": (Steep, "adamw", {"accumulate_grad_batches": 3, "plugins": [partial(float16, growth_interval=1)]}),
    "a loss in half precision": (
        InHalf,
        "sgd",
        {"accumulate_grad_batches": 2, "plugins": [partial(float16, init_scale=2.0**17)]},
    ),
}


def last(outcome):
    return torch.load(outcome.checkpoint.with_name(LAST), weights_only=True)


def skipped(outcome):
    """How many steps a trial has not made."""
    content = last(outcome)
    return content["global_step"] - int(content["optimizer_states"][0]["state"][0]["step"])


def assert_same_but_for_rounding(fused, alone, recipe):
    """The same scale and steps, and weights that have moved the same way."""
    for trial in trials_of(recipe, len(alone)):
        number = trial.number
        assert alone[number].state == fused[number].state == "complete", fused[number].traceback
        for name, values in alone[number].metrics.items():
            # One image in fifty may be on the other side.
            tolerance = {"abs": 0.021} if name == "acc" else {"rel": 1e-2}
            assert fused[number].metrics[name] == pytest.approx(values, **tolerance), name
        ours, theirs = (last(outcome) for outcome in (fused[number], alone[number]))
        assert ours["MixedPrecision"] == theirs["MixedPrecision"]
        states = [each["optimizer_states"][0]["state"] for each in (ours, theirs)]
        assert states[0].keys() == states[1].keys()
        for key, state in states[1].items():
            assert states[0][key].get("step") == state.get("step")
        initial, one, other = (
            torch.cat([tensor.flatten() for tensor in each.values()])
            for each in (make_model(recipe, trial).state_dict(), ours["state_dict"], theirs["state_dict"])
        )
        # A step too many or too few would be more.
        assert (one - other).norm() < 0.03 * (other - initial).norm()


@pytest.mark.parametrize("case", CASES)
def test_a_fused_trial_ends_as_it_does_by_itself(case, tmp_path, monkeypatch):
    kind, optimizer, settings = CASES[case]
    monkeypatch.setattr(Classifier, "optimizer", optimizer)
    fused = trained(kind, tmp_path / "fused", True, trainer=trainer(**settings))
    alone = trained(kind, tmp_path / "alone", False, trainer=trainer(**settings))
    assert_same_but_for_rounding(fused, alone, recipe_of(kind, tmp_path))
    assert len({last(outcome)["MixedPrecision"]["scale"] for outcome in alone.values()}) > 1


def test_one_trials_overflow_is_its_own(tmp_path, monkeypatch):
    class Once(Classifier):
        def make(self):
            self.factor = 1.0
            return super().make()

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * self.factor

        def on_train_epoch_start(self):
            self.factor = 1e38 if self.lr == overflowing and self.current_epoch == 1 else 1.0

    monkeypatch.setattr(Classifier, "optimizer", "adamw")
    recipe = recipe_of(Once, tmp_path)
    overflowing = trials_of(recipe)[1].hparams["lr"]
    settings = trainer(plugins=[partial(float16, init_scale=256.0, growth_interval=6)])
    fused = trained(Once, tmp_path / "fused", True, trainer=settings)
    alone = trained(Once, tmp_path / "alone", False, trainer=settings)
    for outcomes in (fused, alone):
        # Seven batches an epoch.
        assert [skipped(outcomes[number]) for number in range(3)] == [0, 7, 0]
        assert [last(outcomes[number])["MixedPrecision"]["scale"] for number in range(3)] == [2048.0, 8.0, 2048.0]
    for number in (0, 2):
        assert_alike(fused[number], alone[number])


def test_bfloat16_has_no_scales(tmp_path):
    fused = trained(Steep, tmp_path / "fused", True, trainer={"precision": "bf16-mixed"})
    alone = trained(Steep, tmp_path / "alone", False, trainer={"precision": "bf16-mixed"})
    for number in range(3):
        assert "MixedPrecision" not in last(fused[number])
        assert fused[number].metrics["val_loss"] == pytest.approx(alone[number].metrics["val_loss"], rel=1e-2)


def test_hooks_see_and_set_the_trials_own_scale(tmp_path):
    seen = {True: {}, False: {}}

    class Watching(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen[now].setdefault(pl_module.lr, []).append(trainer.scaler.get_scale())
            if trainer.global_step == 4:
                trainer.scaler.update(new_scale=pl_module.lr)

    for now in (True, False):
        trained(Steep, tmp_path / str(now), now, trainer=trainer(callbacks=[Watching]))
    assert seen[True] == seen[False]
    assert all(len(set(scales)) > 3 for scales in seen[True].values())


@pytest.fixture
def interrupting(monkeypatch):
    """A module that is interrupted in an epoch, if one is given; its checkpoints are written at each."""
    monkeypatch.setattr(saving, "PARTS", 0)
    monkeypatch.setattr(Classifier, "optimizer", "adamw")

    class Interrupted(Steep):
        epoch = None

        def on_train_epoch_start(self):
            if self.current_epoch == self.epoch:
                raise KeyboardInterrupt

    return Interrupted


@pytest.mark.run_each_time
@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_job_ends_as_if_it_had_not_been(epoch, interrupting, tmp_path):
    whole = trained(interrupting, tmp_path / "whole", True, trainer=trainer())
    interrupting.epoch = epoch
    with pytest.raises(KeyboardInterrupt):
        trained(interrupting, tmp_path / "study", True, trainer=trainer())
    interrupting.epoch = None
    ours = trained(interrupting, tmp_path / "study", True, trainer=trainer())
    assert len({skipped(outcome) for outcome in whole.values()}) > 1
    for number, outcome in whole.items():
        assert ours[number].metrics == outcome.metrics
        one, other = last(ours[number]), last(outcome)
        assert one["MixedPrecision"] == other["MixedPrecision"]
        for key in ("state_dict", "optimizer_states"):
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)


@pytest.mark.parametrize("first", [True, False])
def test_what_was_interrupted_together_goes_on_alone_and_the_other_way_round(first, interrupting, tmp_path):
    whole = trained(interrupting, tmp_path / "whole", False, trainer=trainer())
    interrupting.epoch = 2
    recipe = recipe_of(interrupting, tmp_path / "study", trainer=trainer())
    trials = trials_of(recipe)
    for job in [trials] if first else [[trial] for trial in trials]:
        with pytest.raises(KeyboardInterrupt):
            run(recipe, [job])
    interrupting.epoch = None
    ours = run(recipe, [[trial] for trial in trials] if first else [trials])
    assert_same_but_for_rounding(ours, whole, recipe)


class OwnPlugin(MixedPrecision):
    pass


class OwnScaler(GradScaler):
    pass


SHARED = []


def sharing():
    SHARED[:] = SHARED or [float16()]
    return SHARED[0]


def some():
    SHARED.append(float16())
    return float16(enabled=len(SHARED) % 2 == 0)


class Looking(Classifier):
    def training_step(self, batch, batch_idx):
        self.trainer.scaler.get_scale()
        return super().training_step(batch, batch_idx)


class HalfParameter(Classifier):
    def make(self):
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float16))
        return super().make()

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * self.scale


REFUSED = {
    "a plugin of its own": (Steep, {"plugins": [partial(float16, OwnPlugin)]}, "in a way of its own by OwnPlugin"),
    "a scaler of its own": (Steep, {"plugins": [partial(float16, scaler=OwnScaler)]}, "in a way of its own by OwnScaler"),
    "a factory that makes only one": (Steep, {"plugins": [sharing]}, "trials that share a gradient scaler"),
    "some without": (Steep, {"plugins": [some]}, "some scale their losses and others do not"),
    "clipping what the optimizer unscales": (
        InOneKernel,
        trainer(gradient_clip_val=1.0),
        "the optimizer unscales gradients by itself",
    ),
    "a step that looks at the scale": (Looking, trainer(), "the step reads trainer.scaler"),
    "a parameter in half precision": (HalfParameter, trainer(), "gradients in float16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_fused_is_given_back_with_the_reason(case, tmp_path):
    SHARED.clear()
    kind, settings, reason = REFUSED[case]
    assert reason in refused(recipe_of(kind, tmp_path, trainer=settings)).reason


def test_a_scaler_that_all_trials_would_share_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"trainer\['plugins'\] holds one MixedPrecision that all trials would share: give a func"
    ):
        recipe_of(Steep, tmp_path, trainer={"plugins": [float16()]})
    recipe_of(Steep, tmp_path, trainer={"plugins": [MixedPrecision("bf16-mixed", "cpu")]})
