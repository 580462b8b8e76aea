"""SearchLoop: what a user gets from whole searches."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, TQDMProgressBar
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from examples.digits import DigitsData, LitDigits
from lightning_hp import (
    Babysitter,
    Choice,
    ConfigError,
    Grid,
    Halving,
    Int,
    Linear,
    Log,
    MonitorError,
    SearchStoppedError,
    Study,
)
from lightning_hp.babysit.log import interventions
from lightning_hp.cli.config import build, load
from lightning_hp.fit.rng import seed_rngs
from lightning_hp.seeds import data_seed


def rows(study):
    """What must be equal between two runs of one search."""
    return [(t.number, t.hparams, t.seed, t.state, t.value, t.epochs, t.metrics, t.reason) for t in study.trials]


def test_a_search_records_every_trial_with_its_metrics(search):
    study = search().run()
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    for trial in study.trials:
        assert trial.state == "complete"
        assert trial.epochs == 2
        assert {"val_acc", "val_loss", "train_loss"} <= trial.metrics.keys()
        assert all(len(values) == 2 for values in trial.metrics.values())
        assert trial.value == max(trial.metrics["val_acc"])
        assert trial.checkpoint.exists()
        assert (trial.checkpoint.parent / "last.ckpt").exists()
    assert study.best.value == max(trial.value for trial in study.trials)


def test_the_objective_is_the_best_epoch_and_not_the_last(search):
    class UpThenDown(LitDigits):
        def validation_step(self, batch, batch_idx):
            self.log("val_acc", [0.1, 0.9, 0.4][self.current_epoch])

    study = search(UpThenDown, trials=1, trainer={"max_epochs": 3, "accelerator": "cpu"}).run()
    assert study.best.value == pytest.approx(0.9)
    assert study.best.metrics["val_acc"] == pytest.approx([0.1, 0.9, 0.4])
    checkpoint = torch.load(study.best.checkpoint, weights_only=True)
    assert checkpoint["epoch"] == 1


def test_best_load_gives_the_model_that_had_the_best_value(search):
    study = search().run()
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (metrics,) = trainer.validate(study.best.load(), dataloaders=study_loader(), verbose=False)
    assert metrics["val_acc"] == study.best.value


def study_loader():
    """The validation data of a search of seed 0."""
    seed_rngs(data_seed(0))
    data = DigitsData()
    data.setup("fit")
    return data.val_dataloader()


def test_best_load_rebuilds_the_model_of_the_best_epoch(search):
    study = search().run()
    model = study.best.load()
    assert isinstance(model, LitDigits)
    assert not model.training
    assert model.hparams.lr == study.best.hparams["lr"]
    saved = torch.load(study.best.checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


class WithThresholds(LitDigits):
    """Has more to keep than weights, and makes sure that it is there."""

    def on_save_checkpoint(self, checkpoint):
        checkpoint["thresholds"] = {"epoch": self.current_epoch, "values": self.net[-1].weight.detach().mean(1)}

    def on_load_checkpoint(self, checkpoint):
        self.thresholds = checkpoint["thresholds"]


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_what_a_module_adds_to_checkpoints_comes_back_with_the_best_epochs_weights(search, fuse):
    space = {"lr": Log(1e-2, 1.0), "momentum": Linear(0.5, 0.95)}
    study = search(WithThresholds, fuse=fuse, space=space, trials=3).run()
    for trial in study.trials:
        epoch = trial.metrics["val_acc"].index(trial.value)
        for model in (trial.load(), WithThresholds.load_from_checkpoint(trial.checkpoint)):
            assert model.thresholds["epoch"] == epoch
            assert torch.equal(model.thresholds["values"], model.net[-1].weight.detach().mean(1))
        assert trial.checkpoint.stat().st_size < 1.1 * trial.checkpoint.with_name("last.ckpt").stat().st_size


def test_a_module_that_keeps_a_part_of_its_weights_only_is_loaded(search):
    class Partly(LitDigits):
        """Leaves out what is frozen, as adapters of large models do."""

        def __init__(self, lr):
            super().__init__(lr=lr)
            self.strict_loading = False

        def state_dict(self, *args, **keywords):
            return {name: value for name, value in super().state_dict(*args, **keywords).items() if "0" not in name}

    study = search(Partly, space={"lr": Log(1e-2, 1.0)}, trials=1).run()
    saved = torch.load(study.best.checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], value) for name, value in study.best.load().state_dict().items())


def test_load_works_whatever_save_hyperparameters_has_saved(search):
    class Saving(LitDigits):
        def __init__(self, lr, layer=nn.ReLU, path=Path(), optimizer=torch.optim.SGD):
            super().__init__(lr=lr)
            self.save_hyperparameters()
            self.extra = layer()

    space = {"lr": Log(1e-2, 1.0), "layer": Choice(nn.ReLU, nn.Tanh)}
    study = search(Saving, space=space, trials=2).run()
    assert type(study.best.load().extra) is study.best.hparams["layer"]


def test_objects_among_the_choices_and_in_a_partial_are_each_trials_own(search, tmp_path):
    def rows_of(root, *counts):
        space = {"lr": Log(1e-2, 1.0), "activation": Choice(nn.PReLU(), nn.Identity())}
        model = functools.partial(Sharing, nn.Linear(64, 64))
        for count in counts:
            study = search(model, space=space, trials=count, root_dir=tmp_path / root).run()
        return [(trial.value, trial.metrics) for trial in study.trials]

    class Sharing(LitDigits):
        def __init__(self, backbone, lr, activation):
            super().__init__(lr=lr)
            self.net = nn.Sequential(backbone, activation, self.net)

    torch.manual_seed(0)
    at_once = rows_of("at once", 4)
    torch.manual_seed(0)
    assert rows_of("one by one", 1, 2, 4) == at_once


def test_load_needs_no_saved_hyperparameters(search):
    class Bare(LightningModule):
        def __init__(self, lr, activation):
            super().__init__()
            self.lr = lr
            self.net = nn.Sequential(nn.Linear(64, 16), activation(), nn.Linear(16, 10))

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), self.lr)

    space = {"lr": Log(1e-3, 1e-1), "activation": Choice(nn.ReLU, nn.Tanh)}
    study = search(Bare, space=space, monitor="val_loss", mode="min", trials=2).run()
    assert study.best.hparams["activation"] in (nn.ReLU, nn.Tanh)
    assert isinstance(study.best.load().net[1], study.best.hparams["activation"])
    # Without the space there are only names.
    assert Study(study.root).best.hparams["activation"] in ("ReLU", "Tanh")


class Activation(str, Enum):
    RELU = "relu"
    TANH = "tanh"


def test_members_of_an_enum_of_texts_are_values_like_others(search):
    space = {"lr": Log(1e-2, 1.0), "activation": Choice(*Activation)}
    study = search(lambda lr, activation: LitDigits(lr, activation=activation.value), space=space).run()
    assert {trial.hparams["activation"] for trial in study.trials} <= set(Activation)
    assert rows(search(lambda lr, activation: LitDigits(lr, activation=activation.value), space=space).run()) == rows(study)
    assert {trial.hparams["activation"] for trial in Study(study.root).trials} <= {"Activation.RELU", "Activation.TANH"}


def test_the_same_search_gives_the_same_trials_anywhere(search, tmp_path):
    one = search(root_dir=tmp_path / "one", seed=1).run()
    other = search(root_dir=tmp_path / "other", seed=1).run()
    assert rows(one) == rows(other)
    changed = search(root_dir=tmp_path / "changed", seed=2).run()
    assert [t.hparams for t in changed.trials] != [t.hparams for t in one.trials]
    assert {t.seed for t in changed.trials}.isdisjoint(t.seed for t in one.trials)


def test_running_again_runs_nothing_again(search):
    first = rows(search().run())
    calls = []

    def counted(**hparams):
        calls.append(hparams)
        return LitDigits(**hparams)

    class Unreachable:
        @property
        def at_a_time(self):
            raise ConnectionError("nobody is to be asked how many places there are")

        def run(self, next_job, work, emit):
            assert next_job() is None

    again = search(functools.wraps(LitDigits)(counted))
    again.executor = Unreachable()
    assert rows(again.run()) == first
    assert calls == []


def test_more_trials_continue_the_study(search, tmp_path):
    search(trials=2).run()
    continued = search(trials=4).run()
    at_once = search(trials=4, root_dir=tmp_path / "at_once").run()
    assert rows(continued) == rows(at_once)


def test_an_interrupted_trial_is_run_again(search, tmp_path):
    class Interrupting(LitDigits):
        def on_train_epoch_start(self):
            if self.current_epoch == 1 and self.hparams.lr == second_lr:
                raise KeyboardInterrupt

    second_lr = search().terms.sampler.propose(search().space, 0, [1], [])[0]["lr"]
    Interrupting.__qualname__ = LitDigits.__qualname__
    with pytest.raises(KeyboardInterrupt):
        search(Interrupting).run()
    states = [trial.state for trial in Study(tmp_path / "study").trials]
    assert states[0] == "complete"
    assert "running" not in states
    resumed = search().run()
    assert rows(resumed) == rows(search(root_dir=tmp_path / "whole").run())


class Middle:
    """Proposes what lies in the middle of the space."""

    def propose(self, space, seed, numbers, finished, mode="min"):
        return [space.from_unit([[0.5] * len(space)])[0] for _ in numbers]


def test_why_a_sampler_of_ones_own_is_not_fused_is_said_once(search, capsys):
    study = search(strategy=Middle(), fuse="auto", progress=True, trials=2).run()
    assert [trial.state for trial in study.trials] == ["complete", "complete"]
    assert capsys.readouterr().err.count("not fused: Middle may want to see what has finished") == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 7}, "seed was 0, is 7"),
        ({"mode": "min"}, "mode was 'max', is 'min'"),
        ({"monitor": "val_loss"}, "monitor"),
        ({"strategy": "grid"}, "strategy"),
        ({"trainer": {"max_epochs": 3, "accelerator": "cpu"}}, "trainer['max_epochs'] was 2, is 3"),
        ({"space": {"lr": Log(1e-2, 0.5)}}, "space['momentum'] is gone"),
        ({"space": {"lr": Log(1e-2, 0.5), "weight_decay": Log(0.1, 0.5)}}, "space['weight_decay'] is new"),
        ({"model": functools.partial(LitDigits, hidden=9)}, "model was 'LitDigits', is {'LitDigits': {'hidden': 9}}"),
        ({"data": functools.partial(DigitsData, batch_size=9)}, "data was 'DigitsData', is {'DigitsData': {'batch_size': 9}}"),
        ({"babysit": Babysitter(patience=9)}, "babysit was False, is {'monitor': None"),
        ({"trainer": {"max_epochs": 2, "accelerator": "cpu", "max_time": {"minutes": 9}}}, "trainer['max_time'] is new"),
    ],
)
def test_another_search_in_the_same_folder_is_refused_with_the_difference(search, change, told):
    before = rows(search(trials=1).run())
    with pytest.raises(ConfigError) as error:
        search(**{"trials": 1, **change}).run()
    assert told in str(error.value)
    assert rows(Study(search().root)) == before


def test_all_trials_see_the_same_split_and_batch_order(search):
    seen = {}

    class Watching(LitDigits):
        def __init__(self, lr, dropout):
            super().__init__(lr=lr)
            self.net = nn.Sequential(nn.Linear(64, 32), nn.Dropout(dropout), nn.Linear(32, 10))

        def on_train_batch_start(self, batch, batch_idx):
            seen.setdefault(self.hparams.lr, []).append(batch[0].sum().item())

        def validation_step(self, batch, batch_idx):
            torch.rand(int(1e3 * self.hparams.lr))
            super().validation_step(batch, batch_idx)

    space = {"lr": Log(1e-3, 1.0), "dropout": Choice(0.0, 0.5)}
    search(Watching, space=space, trials=4).run()
    orders = list(seen.values())
    assert len(orders) == 4
    assert all(order == orders[0] for order in orders)
    half = len(orders[0]) // 2
    assert orders[0][:half] != orders[0][half:]


def test_weights_are_seeded_per_trial(search):
    first_weights = []

    class Watching(LitDigits):
        def on_fit_start(self):
            first_weights.append(self.net[0][0].weight.detach().clone())

    space = {"lr": Log(1e-2, 1.0)}
    search(Watching, space=space).run()
    assert not torch.equal(first_weights[0], first_weights[1])


def test_a_search_leaves_the_users_random_numbers_alone(search):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    search(trials=1).run()
    assert torch.equal(torch.rand(2), expected)


def test_data_and_trainer_names_reach_their_factories(search):
    seen = []

    class Watching(LitDigits):
        def on_train_start(self):
            seen.append((self.trainer.datamodule.batch_size, self.trainer.gradient_clip_val))

    space = {"model.lr": Log(1e-2, 1.0), "data.batch_size": Choice(100, 200), "trainer.gradient_clip_val": Choice(0.5, 1.0)}
    study = search(Watching, space=space, strategy=Grid(1)).run()
    assert seen == [(t.hparams["data.batch_size"], t.hparams["trainer.gradient_clip_val"]) for t in study.trials]
    assert len(set(seen)) > 1


def test_grid_runs_every_combination_once_and_ends(search):
    space = {"lr": Log(1e-2, 1.0), "layers": Int(1, 2)}
    study = search(space=space, strategy=Grid({"lr": 2}), trials=None).run()
    assert [t.hparams for t in study.trials] == [
        {"lr": 0.01, "layers": 1},
        {"lr": 0.01, "layers": 2},
        {"lr": 1.0, "layers": 1},
        {"lr": 1.0, "layers": 2},
    ]


def test_no_trial_begins_after_max_time(search):
    study = search(trials=None, max_time=1e-9).run()
    assert study.trials == []
    with pytest.raises(LookupError, match="none has started"):
        _ = study.best
    assert len(search(trials=100, max_time={"seconds": 0.5}).run().trials) < 100


def test_data_may_be_an_instance_or_a_function_that_returns_loaders(search):
    space = {"lr": Log(1e-2, 1.0)}

    def loaders():
        data = DigitsData(128)
        data.setup("fit")
        return data.train_dataloader(), data.val_dataloader()

    by_instance = search(space=space, data=DigitsData(128), trials=2).run()
    assert all(trial.state == "complete" for trial in by_instance.trials)
    by_function = search(space=space, data=loaders, trials=2, root_dir=by_instance.root / "other").run()
    assert rows(by_function) == rows(by_instance)


def test_a_model_may_bring_its_own_loaders(search):
    class WithData(LitDigits):
        def setup(self, stage):
            self.digits = DigitsData(128)
            self.digits.setup(stage)

        def train_dataloader(self):
            return self.digits.train_dataloader()

        def val_dataloader(self):
            return self.digits.val_dataloader()

    assert search(WithData, data=None, space={"lr": Log(1e-2, 1.0)}, trials=1).run().best.state == "complete"


def test_each_trial_gets_its_own_callbacks(search):
    made = []

    def stopping():
        made.append(EarlyStopping("val_acc", mode="max", patience=0, min_delta=2.0))
        return made[-1]

    trainer = {"max_epochs": 5, "accelerator": "cpu", "callbacks": [stopping]}
    study = search(trials=2, trainer=trainer).run()
    assert len(made) == 2
    assert [trial.epochs for trial in study.trials] == [2, 2]


@pytest.mark.parametrize("argument", ["enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"])
def test_what_a_search_sets_by_itself_may_be_asked_for(search, argument):
    trainer = {"max_epochs": 1, "accelerator": "cpu", argument: True}
    assert search(trials=1, trainer=trainer).run().best.state == "complete"


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_a_progress_bar_among_the_callbacks_is_left_out(search, fuse, capfd):
    trainer = {"max_epochs": 1, "accelerator": "cpu", "callbacks": [functools.partial(TQDMProgressBar, leave=True)]}
    space = {"lr": Log(1e-2, 1.0)}
    study = search(trials=2, trainer=trainer, space=space, fuse=fuse).run()
    assert study.counts == {"complete": 2}
    assert "Epoch 0" not in "".join(capfd.readouterr())


def test_a_progress_bar_that_is_asked_for_is_shown(search, capfd):
    trainer = {"max_epochs": 1, "accelerator": "cpu", "callbacks": [TQDMProgressBar], "enable_progress_bar": True}
    assert search(trials=1, trainer=trainer).run().best.state == "complete"
    assert "Epoch 0" in "".join(capfd.readouterr())


def test_checkpoints_can_be_turned_off(search):
    trainer = {"max_epochs": 1, "accelerator": "cpu", "enable_checkpointing": False}
    study = search(trials=1, trainer=trainer).run()
    assert study.best.checkpoint is None
    assert not list(study.root.rglob("*.ckpt"))
    with pytest.raises(LookupError, match="no checkpoint"):
        study.best.load()


def test_a_training_metric_can_be_the_objective(search):
    study = search(monitor="train_loss", mode="min", trials=1).run()
    assert study.best.value == min(study.best.metrics["train_loss"])


def test_validation_every_other_epoch_leaves_gaps_and_the_right_best(search):
    trainer = {"max_epochs": 4, "accelerator": "cpu", "check_val_every_n_epoch": 2}
    trial = search(trials=1, trainer=trainer).run().best
    assert [value is None for value in trial.metrics["val_acc"]] == [True, False, True, False]
    assert None not in trial.metrics["train_loss"]
    assert trial.value == max(value for value in trial.metrics["val_acc"] if value is not None)


def test_babysitting_is_a_flag(search):
    babysitter = Babysitter("val_acc", "max", patience=0, min_delta=2.0)
    study = search(trials=2, babysit=babysitter, trainer={"max_epochs": 3, "accelerator": "cpu"}).run()
    for trial in study.trials:
        first = interventions(study.root / "trials" / f"{trial.number:06d}" / "babysit.jsonl")[0]
        assert first.after[0].lr == pytest.approx(trial.hparams["lr"] * 0.2)
    assert search(trials=1, babysit=True, root_dir=study.root / "other").run().best.state == "complete"


# One bad trial hurts nobody.


def test_a_failing_trial_is_recorded_with_its_reason_and_the_search_goes_on(search):
    def sometimes(activation, **hparams):
        if activation == "tanh":
            raise RuntimeError("no tanh today")
        return LitDigits(activation=activation, **hparams)

    study = search(functools.wraps(LitDigits)(sometimes), trials=6).run()
    failed = [trial for trial in study.trials if trial.hparams["activation"] == "tanh"]
    assert 0 < len(failed) < 6
    for trial in failed:
        assert (trial.state, trial.value) == ("failed", None)
        assert trial.reason == "RuntimeError: no tanh today"
        assert "no tanh today" in trial.traceback
    assert study.best.hparams["activation"] == "relu"


def test_a_nan_loss_is_diverged_and_never_best(search):
    class Diverging(LitDigits):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * math.nan if self.hparams.activation == "tanh" else loss

    study = search(Diverging, trials=6).run()
    diverged = [trial for trial in study.trials if trial.hparams["activation"] == "tanh"]
    assert diverged
    for trial in diverged:
        assert trial.state == "diverged"
        assert trial.value is None
        assert "is nan in epoch 0" in trial.reason
        assert trial.epochs == 1
    assert study.best.hparams["activation"] == "relu"


def test_a_diverging_learning_rate_ends_by_itself(search):
    class Exploding(LitDigits):
        def training_step(self, batch, batch_idx):
            return self(batch[0]).exp().sum()

    study = search(Exploding, trials=2, space={"lr": Log(1e3, 1e6)}).run()
    assert [trial.state for trial in study.trials] == ["diverged", "diverged"]


def test_five_identical_failures_from_the_start_stop_the_search_with_the_traceback(search):
    class Wrong(LitDigits):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentun=0.9)

    with pytest.raises(SearchStoppedError) as error:
        search(Wrong, trials=20).run()
    assert "momentun" in str(error.value)
    assert "configure_optimizers" in str(error.value)
    trials = Study(search().root).trials
    assert [trial.state for trial in trials] == ["failed"] * 5


def test_failures_that_differ_in_their_numbers_only_are_identical(search):
    def failing(lr, **_):
        raise ValueError(f"cannot use lr={lr}")

    with pytest.raises(SearchStoppedError):
        search(failing, trials=20).run()


def test_failures_after_a_success_do_not_stop_the_search(search):
    made = []

    def once(**hparams):
        made.append(hparams)
        if len(made) > 1:
            raise RuntimeError("only once")
        return LitDigits(**hparams)

    study = search(once, trials=8).run()
    assert [trial.state for trial in study.trials] == ["complete"] + ["failed"] * 7


def test_different_failures_do_not_stop_the_search(search):
    made = []

    def various(**hparams):
        made.append(hparams)
        if len(made) % 2:
            raise RuntimeError("odd")
        raise TypeError("even")

    study = search(various, trials=7).run()
    assert {trial.state for trial in study.trials} == {"failed"}
    with pytest.raises(LookupError, match="7 failed"):
        _ = study.best


def test_a_monitor_that_is_never_logged_stops_the_search_and_lists_what_was(search):
    with pytest.raises(MonitorError) as error:
        search(monitor="val_accuracy").run()
    assert "'val_accuracy' is not logged" in str(error.value)
    assert "did you mean 'val_acc'?" in str(error.value)
    assert "train_loss, val_acc, val_loss" in str(error.value)
    (trial,) = Study(search().root).trials
    assert (trial.state, trial.epochs) == ("failed", 1)


def test_a_metric_that_two_babysitters_watch_stops_the_search_before_it_trains(search):
    trainer = {"max_epochs": 1, "accelerator": "cpu", "callbacks": lambda: Babysitter("val_acc", "max")}
    with pytest.raises(MonitorError, match="'val_acc' is watched by two Babysitters with mode='max': leave out babysit"):
        search(babysit=True, trainer=trainer).run()
    (trial,) = Study(search().root).trials
    assert (trial.state, trial.epochs) == ("failed", 0)
    (trial,) = search(babysit=Babysitter("val_loss"), trials=1, trainer=trainer, root_dir=search().root / "two").run().trials
    assert trial.state == "complete"


# Files of a study.


def test_the_folder_holds_what_the_design_says(search):
    root = search(trials=1).run().root
    assert (root / "study.db").is_file()
    assert (root / "search").is_dir()
    assert sorted(path.name for path in (root / "trials" / "000000").iterdir() if "tfevents" not in path.name) == [
        "checkpoints",
        "conditions.jsonl",
        "hparams.yaml",
        "trial.json",
    ]
    config = yaml.safe_load((root / "config.yaml").read_text())
    assert config["model"]["class_path"] == "examples.digits.LitDigits"
    assert config["search"]["space"]["lr"] == {"scale": "log", "low": 0.01, "high": 1.0}
    assert config["trainer"]["max_epochs"] == 2


def test_the_written_config_makes_the_same_search(search):
    asked = {"executor": "processes", "workers": 2, "retries": 0, "fuse": "never", "trial_timeout": {"minutes": 10}}
    loop = search(trials=1, pruner=Halving(first=1), **asked)
    paths = [str(loop.run().root / "config.yaml")]
    config = load(paths, {})
    written = {"executor": "processes", "workers": 2, "retries": 0, "fuse": "never", "trial_timeout": 600.0}
    assert written.items() <= config["search"].items()
    again = build(paths, config)
    assert (again.root, again.retries, again.fuse) == (loop.root, 0, "never")
    assert type(again.executor) is type(loop.executor)
    assert again.executor.at_a_time == loop.executor.at_a_time
    assert again.asked()["pruner"] == loop.asked()["pruner"]


def test_a_study_can_be_moved(search, tmp_path):
    study = search(trials=1).run()
    moved = study.root.rename(tmp_path / "moved")
    assert Study(moved).best.checkpoint.is_file()


# Errors before anything is trained or written.


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": LitDigits()}, "made already"),
        ({"model": 3}, "model needs a LightningModule class"),
        ({"model": nn.Linear}, "model got the class Linear, which is no LightningModule"),
        ({"data": LitDigits}, "data got the class LitDigits, which is no LightningDataModule"),
        ({"space": {"batch_size": Int(1, 2)}}, "LitDigits has no argument 'batch_size' (did you mean 'data.batch_size'?)"),
        ({"space": {"hiden": Int(1, 2)}}, "did you mean 'hidden'?"),
        ({"space": {"data.batchsize": Int(1, 2)}}, "DigitsData has no argument 'batchsize'"),
        ({"space": {"trainer.max_epoch": Int(1, 2)}}, "Trainer has no argument 'max_epoch'"),
        ({"data": DigitsData(), "space": {"data.batch_size": Int(1, 2)}}, "an instance, which is made already"),
        ({"data": None}, "needs data="),
        ({"data": None, "space": {"lr": Log(1e-2, 1)}}, "LitDigits has no train_dataloader, and no data is given: give data="),
        (
            {"data": None, "space": {"lr": Log(1e-2, 1)}, "model": functools.partial(LitDigits, momentum=0.5)},
            "has no train_dataloader",
        ),
        ({"data": [1]}, "a function that returns (train, val) loaders, got [1]"),
        (
            {"data": (DataLoader([1]), DataLoader([2]))},
            "got loaders that are made already: each trial asks for its own, as by lambda",
        ),
        ({"data": TensorDataset(torch.zeros(2))}, "got a TensorDataset, which is a data set: its loaders are needed"),
        ({"data": ["x" * 100]}, "loaders, got a list"),
        ({"model": lambda lr, width: None, "space": {"lr": Log(1e-2, 1)}}, "requires 'width'"),
        ({"trainer": {"max_epoch": 3}}, "did you mean 'max_epochs'?"),
        ({"trainer": {"default_root_dir": "x"}}, "every trial has its own folder"),
        ({"trainer": {"callbacks": [EarlyStopping("val_acc")]}}, "lambda: EarlyStopping(...)"),
        ({"trainer": {"callbacks": [EarlyStopping]}}, "requires 'monitor'"),
        ({"trainer": {"max_epochs": "3"}}, "trainer['max_epochs'] needs a whole number, got '3', which is text"),
        ({"trainer": {"max_epochs": 0}}, "trainer['max_epochs']=0 trains nothing"),
        ({"trainer": {"max_epochs": 1.5}}, "trainer['max_epochs'] needs a whole number, got 1.5"),
        ({"trainer": {"limit_val_batches": "1"}}, "trainer['limit_val_batches'] needs a number, got '1', which is text"),
        ({"trainer": {"enable_checkpointing": "no"}}, "trainer['enable_checkpointing'] needs True or False, got 'no'"),
        ({"trainer": {"max_time": 60}}, "trainer['max_time'] needs text or timedelta or a dict, got 60"),
        ({"trainer": {"accumulate_grad_batches": 0}}, "trainer['accumulate_grad_batches'] needs a number above 0, got 0"),
        ({"trainer": {"logger": "csv"}}, "trainer['logger'] needs functions that make one, such as lambda: CSVLogger('logs')"),
        ({"trainer": {"callbacks": [None]}}, "trainer['callbacks'] needs functions that make one"),
        ({"trainer": {"limit_train_batches": 0.0}}, "trainer['limit_train_batches']=0.0 trains nothing"),
        (
            {"trainer": {"strategy": "ddp_spawn"}},
            "trainer['strategy']='ddp_spawn' trains in processes that tell",
        ),
        ({"trainer": {"strategy": "ddp_notebook"}}, "take 'ddp'"),
        ({"trainer": 5}, "trainer needs a dict"),
        ({"trainer": {"devices": 2}}, "devices above 1 needs executor='processes'"),
        ({"trainer": {"devices": [0]}}, "trainer['devices'] needs how many devices a trial trains on, got [0]"),
        ({"trainer": {"num_nodes": 2}}, "a trial runs on one machine, got 2"),
        ({"trainer": {"barebones": True}}, "callbacks and loggers that a search needs"),
        ({"trainer": {"accelerator": "gpuu"}}, "trainer: You selected an invalid accelerator name"),
        ({"trainer": {"callbacks": ["EarlyStopping"]}}, "needs functions that make one"),
        ({"trainer": {"callbacks": [DigitsData]}}, "trainer['callbacks'] holds the class DigitsData, which is no Callback"),
        ({"trainer": {"logger": DigitsData}}, "trainer['logger'] holds the class DigitsData, which is no Logger"),
        ({"trainer": {"plugins": ["fast"]}}, "trainer['plugins'] needs Precision or ClusterEnvironment or CheckpointIO or"),
        ({"trainer": {"plugins": [lambda: None, 3]}}, "CheckpointIO or LayerSync, got 3"),
        (
            {"space": {"trainer.max_epochs": Int(0, 2)}},
            "space['trainer.max_epochs'] has 0: trainer['max_epochs']=0 trains nothing",
        ),
        ({"space": {"trainer.max_epochs": Linear(1, 2)}}, "has 1.0: trainer['max_epochs'] needs a whole number, got 1.0"),
        (
            {"space": {"trainer.precision": Choice(32, 17)}},
            "space['trainer.precision'] has 17: trainer: Precision 17 is",
        ),
        ({"space": {"trainer.devices": Choice(1, 2)}}, "space['trainer.devices'] cannot be searched"),
        ({"space": {"trainer.default_root_dir": Choice("a", "b")}}, "every trial has its own folder"),
        ({"mode": "maximum"}, "mode needs 'min' or 'max', got 'maximum' (did you mean 'max'?)"),
        ({"mode": "minimize"}, "(did you mean 'min'?)"),
        ({"monitor": ["val_acc", "val_loss"]}, "got ['val_acc', 'val_loss']: a search has one objective"),
        ({"monitor": ""}, "monitor needs"),
        ({"trials": 0}, "trials needs a whole number"),
        ({"trials": None}, "the search has no end"),
        ({"max_time": "soon"}, "max_time needs"),
        ({"strategy": "gird"}, "did you mean 'grid'?"),
        ({"strategy": Grid({"lrr": 2})}, "is not in the space"),
        ({"executor": "thread"}, "executor='thread' is not one of"),
        ({"fuse": "allways"}, "did you mean 'always'?"),
        (
            {"fuse": "always", "executor": "processes", "trainer": {"accelerator": "cpu", "devices": 2}},
            "fuse='always', but a trial trains on 2 devices",
        ),
        ({"fuse": False}, "fuse=False is not one of auto, never, always (did you mean 'never'?)"),
        ({"fuse": "always", "strategy": Middle()}, "fuse='always', but Middle may want to see what has finished"),
        ({"seed": -1}, "seed needs"),
        ({"trials": 2.0}, "trials needs a whole number of at least 1, got 2.0"),
        ({"trials": True}, "trials needs a whole number of at least 1, got True"),
        ({"retries": np.int64(-1)}, "retries needs a whole number of at least 0"),
        ({"babysit": "yes"}, "babysit needs"),
        ({"space": {}}, "space is empty"),
        ({"progress": "no"}, "progress needs True or False, got 'no'"),
        ({"verbose": 1}, "verbose needs True or False, got 1"),
        ({"root_dir": None}, "root_dir needs the name of a folder, got None"),
        ({"root_dir": " "}, "root_dir needs the name of a folder, got ' '"),
        ({"root_dir": "s3://bucket/runs"}, "root_dir needs a folder that this machine sees, got the URL 's3://bucket/runs'"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_written(search, tmp_path, change, told):
    with pytest.raises(ConfigError) as error:
        search(**change)
    assert told in str(error.value)
    assert not (tmp_path / "study").exists()


def test_numpys_whole_numbers_are_whole_numbers(search):
    one = np.int64(1)
    trainer = {"max_epochs": one, "accelerator": "cpu", "devices": one}
    study = search(trials=one, seed=one, retries=one, workers=one, jobs_per_device=one, trainer=trainer).run()
    assert [trial.state for trial in study.trials] == ["complete"]


@pytest.mark.parametrize("most", [-1, 1.5, "3"])
def test_a_leaderboard_of_no_number_of_trials_is_refused(search, most):
    with pytest.raises(ConfigError, match=r"leaderboard.* needs a whole number of at least 0"):
        search(trials=1).run().leaderboard(most)


@pytest.mark.parametrize("root", [None, 3, ""])
def test_a_study_of_no_folder_is_told(root):
    with pytest.raises(ConfigError, match=r"Study.* needs the name of a folder"):
        Study(root)


@pytest.mark.parametrize(("key", "made"), [("callbacks", "a Callback"), ("logger", "a Logger")])
def test_a_function_that_makes_another_thing_than_was_asked_says_so(search, key, made):
    study = search(trials=1, trainer={"max_epochs": 1, "accelerator": "cpu", key: lambda: "stop"}).run()
    assert study.trials[0].reason == f"TypeError: trainer['{key}'] has a function that returned 'stop', not {made}"


def test_a_folder_that_cannot_be_made_is_told(search, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigError, match="taken cannot be made: File exists"):
        search(root_dir=tmp_path / "taken").run()


def test_a_factory_that_returns_no_module_says_so(search):
    study = search(lambda lr: nn.Linear(1, 1), space={"lr": Log(1e-2, 1.0)}, trials=1).run()
    assert "returned a Linear, not a LightningModule" in study.trials[0].reason


def test_a_partial_may_fix_arguments(search):
    study = search(functools.partial(LitDigits, hidden=17), space={"lr": Log(1e-2, 1.0)}, trials=1).run()
    assert study.best.load().hparams.hidden == 17


def test_trials_can_be_compared(search):
    study = search(trials=1).run()
    assert study.best == replace(study.trials[0])


def test_what_is_unwise_is_noted_once_when_a_study_begins(search, capsys):
    space = {"lr": Linear(1e-4, 1.0)}
    note = "note: space['lr']: Linear(low=0.0001, high=1.0) spans 4.0 decades"
    search(space=space, trials=1, progress=True).run()
    assert capsys.readouterr().err.startswith(note)
    search(space=space, trials=2, progress=True).run()
    assert "note:" not in capsys.readouterr().err


def test_without_progress_nothing_is_noted(search, capsys):
    search(space={"lr": Linear(1e-4, 1.0)}, trials=1, progress=False).run()
    assert "note:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trainer", "told"),
    [({}, True), ({"max_epochs": 2}, False), ({"max_steps": 9}, False), ({"max_time": "00:00:01:00"}, False)],
)
def test_a_trainer_that_nothing_ends_soon_is_told(search, trainer, told):
    notes = search(trainer=trainer).notes
    assert any("trainer has no max_epochs" in note for note in notes) == told


def test_a_number_of_epochs_that_is_searched_is_one(search):
    notes = search(trainer={}, space={"trainer.max_epochs": Int(1, 3)}).notes
    assert not any("max_epochs" in note for note in notes)
