"""What cannot train as one trains by itself, as if nobody had tried, and the reason is said."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler, StochasticWeightAveraging, Timer
from lightning.pytorch.loggers import CometLogger, Logger
from torch import nn

from lightning_hp import Choice, ConfigError, Log
from lightning_hp.fit.fused import module
from tests.fit.fused.digits import SPACE, Classifier, assert_alike, loaders, recipe_of, refused


class WithItem(Classifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("as a number", loss.item())
        return loss


class LoggingSeveral(Classifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("several", torch.stack([loss, loss]))
        return loss


class LoggingForALoader(Classifier):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("other/dataloader_idx_1", 1.0)


OFFSETS = {}


class OffsetElsewhere(Classifier):
    """Has a number that is nowhere in the module."""

    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        OFFSETS[id(self)] = 1.0

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("offset", OFFSETS.get(id(self), 0.0))


class ReturningItElsewhere(OffsetElsewhere):
    def validation_step(self, batch, batch_idx):
        Classifier.validation_step(self, batch, batch_idx)
        return batch[0].mean() + OFFSETS.get(id(self), 0.0)


class Branching(Classifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss if loss > 1 else loss * 2


class Switched(Classifier):
    """Asks for a number of its own before it uses it, in a part that knows nothing of training."""

    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        self.net = Dropping(self.net, rate=momentum / 10)


class Dropping(nn.Module):
    def __init__(self, net, rate):
        super().__init__()
        self.net, self.rate = net, rate

    def forward(self, x):
        x = self.net(x)
        if self.rate:
            x = nn.functional.dropout(x, float(self.rate), self.training)
        return x


class Manual(Classifier):
    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.optimizers().zero_grad()
        self.manual_backward(loss)
        self.optimizers().step()


class OwnStep(Classifier):
    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        optimizer.step(closure=optimizer_closure)


class Logging(Classifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.logger.log_metrics({"mine": float(batch_idx)}, self.global_step)
        return loss


class Writing(Classifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.logger.experiment.add_scalar("mine", float(batch_idx), self.global_step)
        return loss


class Looking(Classifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("rate", self.optimizers().param_groups[0]["lr"])
        return loss


class Scheduling(Classifier):
    def training_step(self, batch, batch_idx):
        self.lr_schedulers()
        return super().training_step(batch, batch_idx)


class Skipping(Classifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx == 0 else loss


class SkippingLater(Classifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx == 3 else loss


class SkippingTheRest(Classifier):
    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 3 else None


class Named(Classifier):
    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        self.kind = "fast" if lr > 0.005 else "slow"

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss if self.kind == "slow" else loss * 2


class Wider(Classifier):
    """Has its layers made when its Trainer is there, until when all look the same."""

    def setup(self, stage):
        self.net = nn.Linear(64, 10) if self.lr > 0.005 else nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 10))


class Broad(Classifier):
    def configure_model(self):
        width = 8 if self.lr > 0.005 else 9
        self.net = nn.Sequential(nn.Linear(64, width), nn.Linear(width, 10))


class Frozen(Classifier):
    def setup(self, stage):
        self.net[0].requires_grad_(self.lr > 0.005)


class Thawing(Classifier):
    """Frozen in the second epoch, in some."""

    def on_train_epoch_start(self):
        self.net[0].requires_grad_(self.lr > 0.005 or self.current_epoch == 0)


class Otherwise(Classifier):
    def configure_optimizers(self):
        return (torch.optim.SGD if self.lr > 0.005 else torch.optim.Adam)(self.parameters(), self.lr / 10)


class Needy(Classifier):
    """Its optimizer wants the loss again."""

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), self.lr, max_iter=2)


class Aimless(Classifier):
    def configure_optimizers(self):
        return None


class Scripted(Classifier):
    def make(self):
        return torch.jit.script(super().make())


class Sharpness(torch.optim.SGD):
    """Steps by the gradient at a place nearby, as SAM does: by two calls of its closure, or by one that comes late."""

    def __init__(self, *args, calls=2):
        super().__init__(*args)
        self.calls = calls

    @torch.no_grad()
    def step(self, closure=None):
        again = torch.enable_grad()(closure)
        loss = again() if self.calls == 2 else None
        for parameter in self.param_groups[0]["params"]:
            parameter.mul_(1.01)
        again()
        super().step()
        return loss


class Sharp(Classifier):
    calls = 2

    def configure_optimizers(self):
        return Sharpness(self.parameters(), self.lr, calls=self.calls)


class SharpAhead(Sharp):
    calls = 1


class Compiled(Classifier):
    def make(self):
        return torch.compile(super().make(), backend="eager")


class CompiledInPlace(Classifier):
    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        self.compile(backend="eager")


class Counting(Classifier):
    """Python keeps the count, which the fused step would not."""

    steps = 0

    def training_step(self, batch, batch_idx):
        self.steps += 1
        return super().training_step(batch, batch_idx) / self.steps


COMMON = nn.BatchNorm1d(32, affine=False)


class Common(Classifier):
    """Takes a part that is there already, and counts the batches of all."""

    def make(self):
        return nn.Sequential(nn.Linear(64, 32), COMMON, nn.Linear(32, 10))


class Failing(Classifier):
    """Fused or not: the user's error."""

    def training_step(self, batch, batch_idx):
        raise KeyError("no such thing")


class Watching(Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        pass


class Comet(CometLogger):
    def __init__(self):
        # Comet's own wants an account.
        Logger.__init__(self)


def using(callback):
    return {"trainer": {"callbacks": [callback]}}


CASES = {
    "item": (WithItem, r"training_step cannot be vectorized: .*\.item\(\) .*: self.log\(\"as a number\", loss.item\(\)\)", {}),
    "several values": (LoggingSeveral, "'several' is logged with 2 values", {}),
    "a loader's name": (LoggingForALoader, "'other/dataloader_idx_1' names a loader", {}),
    "another validation": (OffsetElsewhere, "the logged offset differs from the ordinary step's by 1", {}),
    "another validation, returned": (ReturningItElsewhere, "what validation_step returns differs from the ordinary", {}),
    "a number that is asked for": (Switched, r"control flow \(fused/test_refusals.py, line \d+: if self.rate:\)", {}),
    "a branch": (Branching, "training_step cannot be vectorized: .*data-dependent control flow", {}),
    "manual optimization": (Manual, "manual optimization", {}),
    "optimizer_step": (OwnStep, "the module has its own optimizer_step", {}),
    "the logger": (Logging, "the step reads trainer.logger", {}),
    "TensorBoard": (Writing, "the step reads trainer.logger", {}),
    "the optimizer": (Looking, "the step reads trainer.(strategy|optimizers)", {}),
    "the schedulers": (Scheduling, "the step reads trainer.lr_scheduler_configs", {}),
    "no loss": (Skipping, "training_step returned no loss", {}),
    "no loss later": (SkippingLater, "training_step returned no loss", {}),
    "a rest that is skipped": (SkippingTheRest, "on_train_batch_start skips batches", {}),
    "a string": (Named, r"kind differs \('slow', 'fast'\)|kind differs \('fast', 'slow'\)", {}),
    "other layers": (Wider, "has different shapes or types", {}),
    "another width": (Broad, r"net.0.weight has different shapes or types", {}),
    "frozen in some": (Frozen, "some train a parameter that is frozen in others", {}),
    "frozen in some, later": (Thawing, "some train a parameter that is frozen in others", {}),
    "other optimizers": (Otherwise, "optimizers of different classes", {}),
    "two calls of a closure": (Sharp, "Sharpness calls the closure of its step more than once", {}),
    "a late call of a closure": (SharpAhead, "Sharpness calls the closure of its step for gradients elsewhere", {}),
    "LBFGS": (Needy, "LBFGS calls the closure of its step", {}),
    "no optimizer": (Aimless, "configure_optimizers gives no optimizer", {}),
    "torch.compile": (Compiled, "net is compiled by torch.compile", {}),
    "torch.compile in place": (CompiledInPlace, "the module is compiled by torch.compile", {}),
    "TorchScript": (Scripted, "net is compiled by torch.jit", {}),
    "weights in half precision": (Classifier, "in precision bf16-true", {"trainer": {"precision": "bf16-true"}}),
    "a strategy": (Classifier, "the strategy DDPStrategy takes one model", {"trainer": {"strategy": "ddp"}}),
    "a part of all": (Common, "net.1 is one module of several trials", {}),
    "a count": (Counting, "training_step changes steps", {}),
    "a callback at the optimizer": (Classifier, "the callback Watching uses on_before_optimizer_step", using(Watching)),
    "a time": (Classifier, "max_time is each trial's own, and trials ", {"trainer": {"max_time": "00:01:00:00"}}),
    "a timer": (Classifier, "max_time is each trial's own", using(partial(Timer, "00:01:00:00"))),
    "averaged weights": (
        Classifier,
        "the callback StochasticWeightAveraging changes the loop for all",
        using(lambda: StochasticWeightAveraging(1e-2)),
    ),
    "changing accumulation": (
        Classifier,
        "the callback GradientAccumulationScheduler changes the loop for all",
        using(lambda: GradientAccumulationScheduler({1: 2})),
    ),
    "Comet": (Classifier, "Comet ends a process's experiment where the next begins", {"trainer": {"logger": Comet}}),
}


@pytest.fixture(autouse=True)
def _never_too_slow(monkeypatch):
    monkeypatch.setattr(module, "seconds", lambda step, args, replay: (0.0, 1.0))


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_fused_is_given_back_with_the_reason(case, tmp_path):
    kind, reason, settings = CASES[case]
    told = refused(recipe_of(kind, tmp_path, **settings)).reason
    assert re.search(reason, told), told
    assert "\n" not in told
    assert len(told) < 250


@pytest.mark.slow
@pytest.mark.parametrize("case", ["a branch", "manual optimization", "a string", "frozen in some, later", "LBFGS"])
def test_a_search_trains_it_alone_as_if_nobody_had_tried(case, search, tmp_path, capsys):
    kind, _, settings = CASES[case]
    arguments = {
        "space": SPACE,
        "monitor": "val_loss",
        "mode": "min",
        "data": loaders,
        "trials": 5,
        "trainer": {"max_epochs": 2, "accelerator": "cpu", **settings.get("trainer", {})},
    }
    auto = search(kind, root_dir=tmp_path / "auto", fuse="auto", progress=True, **arguments).run()
    told = capsys.readouterr()
    assert (told.out + told.err).count("not fused:") == 1
    never = search(kind, root_dir=tmp_path / "never", fuse="never", **arguments).run()
    for ours, theirs in zip(auto.trials, never.trials, strict=True):
        assert_alike(ours, theirs)
        # What was refused later had begun as one.
        assert ours.metrics == theirs.metrics or "later" in case
    with pytest.raises(ConfigError, match="fuse='always', but these trials cannot train as one: "):
        search(kind, root_dir=tmp_path / "always", fuse="always", **arguments).run()


def test_the_users_error_is_the_trials_and_not_the_searchs(search, tmp_path):
    study = search(Failing, fuse="auto", space=SPACE, monitor="val_loss", mode="min", data=loaders, trials=3).run()
    assert {(trial.state, trial.reason) for trial in study.trials} == {("failed", "KeyError: 'no such thing'")}


def test_data_that_fail_are_the_trials_and_not_the_searchs(search, tmp_path):
    def failing():
        raise OSError("no data here")

    study = search(Classifier, fuse="auto", space=SPACE, monitor="val_loss", mode="min", data=failing, trials=3).run()
    assert {(trial.state, trial.reason) for trial in study.trials} == {("failed", "OSError: no data here")}


@pytest.mark.run_each_time
def test_what_is_refused_is_one_kind_of_model(search):
    together = []

    class Good(Classifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            together.append(torch._C._functorch.is_batchedtensor(loss))
            return loss

    def either(lr, kind):
        return (Good if kind == "good" else Branching)(lr)

    space = {"lr": Log(1e-3, 1e-1), "kind": Choice("good", "bad")}
    arguments = {"monitor": "val_loss", "mode": "min", "data": loaders, "trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    study = search(either, fuse="auto", space=space, trials=8, **arguments).run()
    assert {trial.state for trial in study.trials} == {"complete"}
    # The seven batches of one fit, and some steps of the check.
    assert together.count(True) > 7
    # Of the check, too: the good ones do not train alone.
    assert 0 < together.count(False) <= 4 * sum(trial.hparams["kind"] == "good" for trial in study.trials)


class Digits(LightningDataModule):
    def train_dataloader(self):
        return loaders()[0]

    def val_dataloader(self):
        return loaders()[1]


@pytest.mark.slow
def test_the_command_ends_with_code_2(tmp_path):
    config = {
        "model": {"class_path": "tests.fit.fused.test_refusals.Branching", "init_args": {"momentum": 0.9}},
        "data": {"class_path": "tests.fit.fused.test_refusals.Digits"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "search": {
            "monitor": "val_loss",
            "mode": "min",
            "trials": 3,
            "executor": "inline",
            "fuse": "always",
            "root": str(tmp_path / "study"),
            "space": {"model.lr": {"scale": "log", "low": 1e-3, "high": 1e-1}},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "lightning_hp", "search", str(tmp_path / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "cannot train as one: training_step cannot be vectorized" in done.stderr
    assert "Traceback" not in done.stderr
