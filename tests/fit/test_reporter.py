"""The reporter: the record of a fit under every validation schedule, its checkpoints, and when it calls a fit diverged."""

from __future__ import annotations

import math

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from examples.digits import LitDigits
from lightning_hp import Halving, Log, MonitorError, Study
from lightning_hp.study.records import repair

SPACE = {"lr": Log(1e-2, 1.0)}


class Scripted(LitDigits):
    """Digits with a metric ``score`` that follows a script, one value a validation."""

    script = (0.1, 0.5, 0.3, 0.5, 0.2)

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            self.validations = getattr(self, "validations", -1) + 1
            self.log("score", self.script[self.validations])


@pytest.fixture
def trial(search):
    """The only trial of a search over digits, with these Trainer arguments."""

    def run(module=Scripted, epochs=5, monitor="score", **trainer):
        trainer = {"max_epochs": epochs, "accelerator": "cpu", "limit_train_batches": 4, **trainer}
        return search(module, space=SPACE, monitor=monitor, trials=1, trainer=trainer).run().trials[0]

    return run


def test_of_equal_epochs_the_first_is_the_best(trial):
    done = trial()
    assert done.value == 0.5
    assert torch.load(done.checkpoint, weights_only=True)["epoch"] == 1


def test_the_best_of_several_validations_in_an_epoch_counts(trial):
    done = trial(epochs=2, val_check_interval=2, num_sanity_val_steps=0)
    assert done.value == 0.5
    assert done.metrics["score"] == pytest.approx([0.5, 0.5])
    checkpoint = torch.load(done.checkpoint, weights_only=True)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (0, 4)


class Halves(LitDigits):
    """Digits with metrics that follow a script, two values an epoch; the best is the first of the first epoch."""

    script = ((0.9, 0.1), (0.2, 0.3))

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            score = self.script[self.current_epoch][self.trainer.global_step % 4 == 0]
            self.log_dict({"score": score, "twice": 2 * score})


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_a_trials_row_says_what_was_logged_at_its_best_validation(search, fuse):
    trainer = {"max_epochs": 2, "accelerator": "cpu", "limit_train_batches": 4, "val_check_interval": 2}
    arguments = {"monitor": "score", "trials": 2, "pruner": Halving(first=1, factor=2), "trainer": trainer, "fuse": fuse}
    study = search(Halves, space=SPACE, **arguments).run()
    assert sorted(trial.epochs for trial in study.trials) == [1, 2]
    for trial, row in zip(study.trials, study.to_rows(), strict=True):
        assert trial.value == row["best.score"] == pytest.approx(0.9)
        assert row["best.twice"] == pytest.approx(1.8)
        assert row["best.train_loss"] == trial.metrics["train_loss"][0]
        assert row["last.score"] == trial.metrics["score"][-1] == pytest.approx([0.1, 0.3][trial.epochs - 1])
    rows = study.to_rows()
    repair(study.root)
    assert Study(study.root).to_rows() == rows


def test_a_metric_of_some_epochs_only_has_gaps_and_not_its_last_value(trial):
    class Sometimes(Scripted):
        def on_validation_epoch_end(self):
            super().on_validation_epoch_end()
            if self.current_epoch % 2:
                self.log("odd", float(self.current_epoch))

        def on_train_epoch_end(self):
            if self.current_epoch == 2:
                self.log("late", 7.0)

    done = trial(Sometimes, epochs=4)
    assert done.metrics["odd"] == [None, 1.0, None, 3.0]
    assert done.metrics["late"] == [None, None, 7.0, None]


def test_a_metric_logged_by_step_and_epoch_is_recorded_once_an_epoch(trial):
    class Both(Scripted):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("both", float(batch_idx), on_step=True, on_epoch=True)
            return loss

    done = trial(Both, epochs=2)
    assert done.metrics["both_epoch"] == pytest.approx([1.5, 1.5], abs=0.1)
    assert "both_step" not in done.metrics


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_no_number_is_divergence(trial, bad):
    class Diverging(Scripted):
        script = (0.1, bad, 0.9)

    done = trial(Diverging, epochs=3)
    assert (done.state, done.value, done.epochs) == ("diverged", None, 2)
    assert f"score is {bad} in epoch 1" in done.reason


def test_a_loss_that_is_no_number_ends_a_long_epoch_early(search):
    class Diverging(LitDigits):
        steps = 0

        def training_step(self, batch, batch_idx):
            type(self).steps += 1
            return super().training_step(batch, batch_idx) * math.nan

    trainer = {"max_epochs": 1, "accelerator": "cpu"}
    space = {**SPACE, "data.batch_size": {"scale": "choice", "values": [4]}}
    study = search(Diverging, space=space, trials=1, trainer=trainer).run()
    assert study.trials[0].state == "diverged"
    assert Diverging.steps == 48


def test_a_monitor_that_does_not_come_is_told_after_the_first_validation_of_a_long_epoch(search):
    class Counting(LitDigits):
        steps = 0

        def training_step(self, batch, batch_idx):
            type(self).steps += 1
            return super().training_step(batch, batch_idx)

    space = {**SPACE, "data.batch_size": {"scale": "choice", "values": [4]}}
    trainer = {"max_epochs": 1, "accelerator": "cpu", "val_check_interval": 10}
    with pytest.raises(MonitorError, match="did you mean 'val_acc'"):
        search(Counting, space=space, monitor="val_accc", trials=1, trainer=trainer).run()
    assert Counting.steps == 10
    # What is logged in training comes only with the epoch's end.
    study = search(Counting, space=space, monitor="train_loss", mode="min", trials=1, trainer=trainer).run()
    assert study.best.value == study.best.metrics["train_loss"][0]


def test_a_metric_that_never_came_because_no_validation_ran_is_told_so(search):
    trainer = {"max_epochs": 2, "accelerator": "cpu", "check_val_every_n_epoch": 5}
    with pytest.raises(MonitorError, match="no validation ran, by trainer check_val_every_n_epoch=5; the"):
        search(space=SPACE, trials=1, trainer=trainer).run()
    for interval, told in ((10_000, "10000"), ("00:01:00:00", "3600 s")):
        trainer |= {"check_val_every_n_epoch": None, "val_check_interval": interval}
        with pytest.raises(MonitorError, match=f"no validation ran, by trainer val_check_interval={told}"):
            search(space=SPACE, trials=1, trainer=trainer).run()


def test_a_metrics_value_by_step_may_be_the_objective(trial):
    class Both(Scripted):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("both", float(batch_idx), on_step=True, on_epoch=True)
            return loss

    assert trial(Both, epochs=2, monitor="both_step").value == 3.0


def test_a_diverged_fit_does_not_go_on_for_min_epochs(trial):
    class Diverging(Scripted):
        script = (0.1, math.nan, 0.9, 0.9, 0.9)

    done = trial(Diverging, epochs=5, min_epochs=5)
    assert (done.state, done.epochs) == ("diverged", 2)
    assert torch.load(done.checkpoint, weights_only=True)["epoch"] == 0


def test_the_users_own_checkpoints_loggers_and_monitors_live_beside_ours(search, tmp_path):
    trainer = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "callbacks": [lambda: ModelCheckpoint(tmp_path / "theirs", monitor="val_loss"), lambda: LearningRateMonitor()],
        "logger": lambda: CSVLogger(tmp_path / "csv"),
    }
    study = search(space=SPACE, trials=2, trainer=trainer).run()
    assert [trial.state for trial in study.trials] == ["complete", "complete"]
    assert len(list((tmp_path / "theirs").glob("*.ckpt"))) >= 1
    assert len(list((tmp_path / "csv").rglob("metrics.csv"))) == 2
    assert study.best.checkpoint.is_file()


def test_the_weights_of_a_failed_trials_best_epoch_are_kept(trial):
    class Failing(Scripted):
        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                raise RuntimeError("enough")

    done = trial(Failing)
    assert (done.state, done.epochs, done.reason) == ("failed", 2, "RuntimeError: enough")
    assert done.checkpoint.is_file()
    assert done.metrics["score"] == pytest.approx([0.1, 0.5])
