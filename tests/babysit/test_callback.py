"""The Babysitter in real fits on digits: when it acts, what it changes, what it writes down, and how it resumes."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from examples.digits import DigitsData, LitDigits
from lightning_hp import Babysitter, ConfigError, MonitorError
from lightning_hp.babysit.log import FILE, Intervention, read
from lightning_hp.babysit.policy import Knobs


class Scripted(LitDigits):
    """Digits with a metric ``score`` that follows a script, one value a validation."""

    def __init__(self, script=(1.0,), **hparams):
        super().__init__(lr=0.1, hidden=8, layers=1, **hparams)
        self.script = script
        self.validations = 0
        self.lrs = []

    def on_train_batch_start(self, batch, batch_idx):
        self.lrs.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            self.log("score", self.script[min(self.validations, len(self.script) - 1)])
            self.validations += 1

    def on_save_checkpoint(self, checkpoint):
        checkpoint["validations"] = self.validations

    def on_load_checkpoint(self, checkpoint):
        self.validations = checkpoint["validations"]


@pytest.fixture
def fit(tmp_path):
    """Fits a module for some epochs of three batches; gives the Trainer."""

    def run(module, *callbacks, epochs=6, ckpt_path=None, **arguments):
        seed_everything(0, verbose=False)
        settings = {
            "accelerator": "cpu",
            "max_epochs": epochs,
            "limit_train_batches": 3,
            "logger": TensorBoardLogger(tmp_path, name="", version="run"),
            "default_root_dir": tmp_path,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
        }
        trainer = Trainer(callbacks=list(callbacks), **(settings | arguments))
        trainer.fit(module, datamodule=DigitsData(128), ckpt_path=ckpt_path)
        return trainer

    return run


def interventions(trainer):
    return read(Path(trainer.log_dir) / FILE)


def test_on_a_plateau_lr_halves_and_momentum_takes_one_step(fit):
    module = Scripted()
    trainer = fit(module, Babysitter("score", patience=1))
    # Checks 0 (the best), 1 and 2 (no better): lr changes with the first batch of epoch 3.
    assert module.lrs == pytest.approx([0.1] * 9 + [0.05] * 6 + [0.025] * 3)
    first, second = interventions(trainer)
    assert first == Intervention(
        epoch=3,
        step=9,
        reason="plateau: score is 1, and 1 has not been beaten in 2 checks",
        before=[Knobs(0.1, 0.9)],
        after=[Knobs(0.05, pytest.approx(0.95))],
    )
    assert (second.epoch, second.step, second.after[0].momentum) == (5, 15, pytest.approx(0.975))


def test_the_log_is_a_line_of_strict_json_per_intervention(fit):
    trainer = fit(Scripted(), Babysitter("score", patience=1))
    lines = (Path(trainer.log_dir) / FILE).read_text().splitlines()

    def refuse(constant):
        raise AssertionError(constant)

    records = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [list(record) for record in records] == [["epoch", "step", "reason", "before", "after"]] * 2
    assert records[0]["after"][0].keys() == {"lr", "momentum"}


def test_tensorboard_gets_curves_and_the_sentence(fit):
    trainer = fit(Scripted(), Babysitter("score", patience=1))
    events = EventAccumulator(trainer.log_dir, size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("babysit/lr")] == [
        (9, pytest.approx(0.05)),
        (15, pytest.approx(0.025)),
    ]
    assert [event.value for event in events.Scalars("babysit/momentum")] == pytest.approx([0.95, 0.975])
    texts = [event.tensor_proto.string_val[0].decode() for event in events.Tensors("babysit/text_summary")]
    assert texts[0] == ("plateau: score is 1, and 1 has not been beaten in 2 checks: lr 0.1 -> 0.05, momentum 0.9 -> 0.95")
    assert len(texts) == 2


def test_a_fit_that_improves_is_not_touched_in_a_single_bit(fit):
    improving = [1.0 - 0.1 * check for check in range(6)]
    alone = Scripted(improving)
    watched = copy.deepcopy(alone)
    fit(alone)
    trainer = fit(watched, Babysitter("score", patience=0))
    assert interventions(trainer) == []
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched.parameters(), strict=True))


def test_min_lr_and_max_momentum_end_the_interventions(fit):
    module = Scripted()
    trainer = fit(module, Babysitter("score", patience=0, min_lr=0.04, max_momentum=0.96), epochs=7)
    assert [each.after[0] for each in interventions(trainer)] == [
        Knobs(0.05, pytest.approx(0.95)),
        Knobs(pytest.approx(0.04), pytest.approx(0.96)),
    ]


def test_cooldown_checks_do_not_count(fit):
    trainer = fit(Scripted(), Babysitter("score", patience=0, cooldown=2), epochs=8)
    assert [each.epoch for each in interventions(trainer)] == [2, 5]


def test_adams_beta1_is_its_momentum(fit):
    class WithAdam(Scripted):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01, betas=(0.8, 0.99))

    module = WithAdam()
    trainer = fit(module, Babysitter("score", patience=1))
    assert interventions(trainer)[0].after == [Knobs(0.005, pytest.approx(0.9))]
    assert trainer.optimizers[0].param_groups[0]["betas"] == (pytest.approx(0.95), 0.99)


def test_momentum_factor_1_leaves_momentum_alone(fit):
    trainer = fit(Scripted(), Babysitter("score", patience=1, momentum_factor=1))
    assert {each.after[0].momentum for each in interventions(trainer)} == {0.9}


def test_several_validations_an_epoch_are_several_checks(fit):
    trainer = fit(Scripted(), Babysitter("score", patience=2), limit_train_batches=4, val_check_interval=2, epochs=2)
    assert [(each.epoch, each.step) for each in interventions(trainer)] == []
    trainer = fit(Scripted(), Babysitter("score", patience=1), limit_train_batches=4, val_check_interval=2, epochs=2)
    assert [(each.epoch, each.step) for each in interventions(trainer)] == [(1, 6)]


def test_epochs_without_validation_are_no_checks(fit):
    trainer = fit(Scripted(), Babysitter("score", patience=1), check_val_every_n_epoch=2, epochs=8)
    assert [each.epoch for each in interventions(trainer)] == [6]


@pytest.mark.parametrize("hook", ["training_step", "on_train_epoch_end"])
def test_a_training_metric_is_checked_once_an_epoch(fit, hook):
    class Training(Scripted):
        def training_step(self, batch, batch_idx):
            if hook == "training_step":
                self.log("flat", 1.0, on_step=True, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self):
            if hook == "on_train_epoch_end":
                self.log("flat_epoch", 1.0)

    trainer = fit(Training(), Babysitter("flat_epoch", patience=1))
    assert [each.epoch for each in interventions(trainer)] == [3, 5]


def test_a_step_schedule_goes_on_from_the_new_value(fit):
    class Stepping(Scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [StepLR(optimizer, 4, 0.1)]

    module = Stepping()
    fit(module, Babysitter("score", patience=1))
    assert module.lrs == pytest.approx([0.1] * 9 + [0.05] * 3 + [0.005] * 3 + [0.0025] * 3)


def test_beside_reduce_on_plateau_a_plateau_is_one_cut_and_not_two(fit):
    class Plateaus(Scripted):
        patience = 1

        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=self.patience)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "score"}}

    class Later(Plateaus):
        patience = 3

    alone, sooner, later = Scripted(), Plateaus(), Later()
    for module in (alone, sooner, later):
        fit(module, Babysitter("score", patience=1), epochs=12)
    cuts = [epoch for epoch in range(1, 12) if sooner.lrs[3 * epoch] < sooner.lrs[3 * epoch - 1]]
    assert all(b - a >= 2 for a, b in itertools.pairwise(cuts))
    assert min(sooner.lrs) >= min(alone.lrs)
    # The babysitter is always first, and the schedule starts counting anew each time.
    assert later.lrs == alone.lrs


def test_a_resumed_fit_intervenes_as_the_uninterrupted_one(fit, tmp_path):
    script = [1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]

    def babysitter():
        return Babysitter("score", patience=1, cooldown=1)

    def logger(name):
        return TensorBoardLogger(tmp_path, name="", version=name)

    whole = fit(Scripted(script), babysitter(), epochs=14, logger=logger("whole"))
    expected = interventions(whole)
    assert len(expected) >= 3
    for stop in range(2, 13):
        folder = tmp_path / f"stopped{stop}"
        first = fit(Scripted(script), babysitter(), epochs=stop, logger=logger(folder.name))
        first.save_checkpoint(folder / "last.ckpt")
        torch.load(folder / "last.ckpt", weights_only=True)
        resumed = fit(Scripted(script), babysitter(), epochs=14, logger=logger(folder.name), ckpt_path=folder / "last.ckpt")
        assert interventions(resumed) == expected


def test_without_a_logger_or_with_another_the_log_is_kept(fit, tmp_path):
    fit(Scripted(), Babysitter("score", patience=1), logger=False)
    assert len(read(tmp_path / FILE)) == 2
    trainer = fit(Scripted(), Babysitter("score", patience=1), logger=CSVLogger(tmp_path, name="", version="csv"))
    assert len(read(tmp_path / "csv" / FILE)) == 2
    trainer.logger.save()
    assert "babysit/lr" in (tmp_path / "csv/metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("monitor", ["scores", "flat"])
def test_a_metric_that_is_never_logged_is_told_with_what_is(fit, monitor):
    with pytest.raises(MonitorError) as error:
        fit(Scripted(), Babysitter(monitor))
    assert f"monitor='{monitor}' is not logged" in str(error.value)
    assert "score" in str(error.value)
    assert "val_acc" in str(error.value)


def test_two_babysitters_of_different_metrics_live_side_by_side(fit):
    trainer = fit(Scripted(), Babysitter("score", patience=1), Babysitter("val_loss", patience=0, min_delta=100.0), epochs=4)
    assert len({callback.state_key for callback in trainer.callbacks if isinstance(callback, Babysitter)}) == 2
    assert {each.reason.split()[1] for each in interventions(trainer)} == {"score", "val_loss"}


def test_a_copy_is_as_fresh_as_its_original():
    original = Babysitter("score", patience=1)
    made = copy.deepcopy(original)
    made.interventions = 3
    assert (original.interventions, original.state) == (0, made.state)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("monitor", ""),
        ("monitor", None),
        ("mode", "maximum"),
        ("patience", -1),
        ("patience", 1.5),
        ("patience", True),
        ("min_delta", -0.1),
        ("min_delta", "small"),
        ("cooldown", -1),
        ("factor", 0),
        ("factor", 1.0),
        ("factor", 2.0),
        ("min_lr", -1e-3),
        ("momentum_factor", 0.0),
        ("momentum_factor", 1.5),
        ("max_momentum", 1.0),
        ("max_momentum", float("nan")),
    ],
)
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(ConfigError) as error:
        Babysitter(**{argument: value})
    assert f"Babysitter needs {argument} to be" in str(error.value)
    assert f"got {value!r}" in str(error.value)
