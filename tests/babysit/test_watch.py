"""What counts as a check in a fit: validations, training metrics, and what neither of them ever logs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from examples.digits import DigitsData, LitDigits
from lightning_hp import Babysitter, ConfigError, MonitorError
from lightning_hp.babysit import log
from tests.babysit.scripted import Scripted


def epochs_of(interventions):
    return [each.epoch for each in interventions]


@pytest.mark.parametrize(
    ("patience", "cooldown", "arguments", "expected"),
    [
        (0, 0, {}, [2, 3, 4, 5, 6, 7]),
        (2, 0, {}, [4, 7]),
        (0, 2, {}, [2, 5]),
        (1, 2, {}, [3, 7]),
        (7, 0, {}, []),
        (0, 0, {"check_val_every_n_epoch": 2}, [4, 6]),
        (0, 1, {"check_val_every_n_epoch": 2}, [4]),
        (2, 0, {"limit_train_batches": 4, "val_check_interval": 0.5}, [2, 3, 5, 6]),
        (2, 1, {"limit_train_batches": 4, "val_check_interval": 0.5}, [2, 4, 6]),
        (1, 0, {"val_check_interval": 4, "check_val_every_n_epoch": None}, [4, 6]),
        (0, 0, {"val_check_interval": 10, "check_val_every_n_epoch": None}, [6]),
    ],
)
def test_patience_and_cooldown_count_checks_and_not_epochs(
    fit, scripted, interventions, patience, cooldown, arguments, expected
):
    trainer = fit(scripted(), Babysitter("score", patience=patience, cooldown=cooldown), epochs=8, **arguments)
    assert epochs_of(interventions(trainer)) == expected


def test_a_change_in_mid_epoch_comes_with_the_batch_after_the_check(fit, scripted):
    module = scripted()
    fit(module, Babysitter("score", patience=0), epochs=2, limit_train_batches=4, val_check_interval=0.5)
    assert module.lrs == pytest.approx([0.1] * 4 + [0.02] * 2 + [0.004] * 2)


def test_sanity_checking_is_no_check(fit, scripted, interventions):
    class Perfect(scripted):
        def on_validation_epoch_end(self):
            if self.trainer.sanity_checking:
                self.log("score", -100.0)
            super().on_validation_epoch_end()

    falling = [1.0 - 0.1 * check for check in range(6)]
    babysitter = Babysitter("score", patience=0)
    assert interventions(fit(Perfect(falling), babysitter, num_sanity_val_steps=-1)) == []
    assert babysitter.care.control.state_dict()["signals"][0]["best"] == pytest.approx(0.5)


@pytest.mark.parametrize("call", ["validate", "test"])
def test_an_evaluation_outside_the_fit_is_no_check(fit, scripted, call):
    class Testable(scripted):
        def test_step(self, batch, batch_idx):
            self.log("score", 2.0)

    babysitter = Babysitter("score", patience=3)
    trainer = fit(Testable(), babysitter, epochs=2)
    before = babysitter.state_dict()
    data = DigitsData(128)
    data.setup("fit")
    getattr(trainer, call)(trainer.lightning_module, dataloaders=data.val_dataloader(), verbose=False)
    assert babysitter.state_dict() == before


TRAINING_METRICS = {"training_step": "risen", "on_step_too": "risen_epoch", "on_train_epoch_end": "risen"}
VALIDATIONS = {
    "every epoch": {},
    "never": {"limit_val_batches": 0},
    "every second epoch": {"check_val_every_n_epoch": 2},
    "every third epoch": {"check_val_every_n_epoch": 3},
    "twice an epoch": {"limit_train_batches": 4, "val_check_interval": 0.5},
    "every ten batches": {"val_check_interval": 10, "check_val_every_n_epoch": None},
}


@pytest.fixture
def training_metric(scripted):
    """A class that logs a training metric of the given values, one an epoch, in the given hook."""

    def make(hook, values):
        class Training(scripted):
            def value(self):
                return float(values[min(self.current_epoch, len(values) - 1)])

            def training_step(self, batch, batch_idx):
                if hook != "on_train_epoch_end":
                    self.log("risen", self.value(), on_step=hook == "on_step_too", on_epoch=True)
                return super().training_step(batch, batch_idx)

            def on_train_epoch_end(self):
                if hook == "on_train_epoch_end":
                    self.log("risen", self.value())

        return Training()

    return make


@pytest.mark.parametrize("validation", VALIDATIONS)
@pytest.mark.parametrize("hook", TRAINING_METRICS)
def test_a_training_metric_that_improves_each_epoch_is_left_alone(fit, interventions, training_metric, hook, validation):
    babysitter = Babysitter(TRAINING_METRICS[hook], mode="max", patience=0)
    trainer = fit(training_metric(hook, range(7)), babysitter, epochs=7, **VALIDATIONS[validation])
    assert interventions(trainer) == []
    # The value of the last epoch is seen as well, though none comes after it to act on.
    assert babysitter.care.control.state_dict()["signals"][0]["best"] == 6.0


@pytest.mark.parametrize("validation", VALIDATIONS)
@pytest.mark.parametrize("hook", TRAINING_METRICS)
def test_a_training_metric_is_a_check_each_epoch(fit, interventions, training_metric, hook, validation):
    babysitter = Babysitter(TRAINING_METRICS[hook], mode="max", patience=1, cooldown=1)
    values = [0, 1, 1, 1, 2, 2, 2, 2, 2]
    trainer = fit(training_metric(hook, values), babysitter, epochs=9, **VALIDATIONS[validation])
    # No better in epochs 2 and 3; epoch 4 is better, and again none from 5 to 6.
    assert epochs_of(interventions(trainer)) == [4, 7]


@pytest.mark.parametrize(
    ("monitor", "hint"),
    [("val_los", "did you mean 'val_loss'?"), ("train-loss", "did you mean 'train_loss'?"), ("nothing_like_it", None)],
)
def test_a_missing_metric_is_an_error_after_the_first_epoch_with_all_that_was_logged(fit, scripted, monitor, hint):
    module = scripted()
    with pytest.raises(MonitorError) as error:
        fit(module, Babysitter(monitor))
    message = str(error.value)
    assert f"monitor={monitor!r}" in message
    assert message.endswith("it logged score, train_loss, val_acc, val_loss")
    assert ("did you mean" in message) is (hint is not None)
    assert hint is None or hint in message
    assert len(module.lrs) == 3


def test_a_missing_metric_waits_for_the_first_validation(fit, scripted):
    module = scripted()
    with pytest.raises(MonitorError, match="score, train_loss, val_acc, val_loss"):
        fit(module, Babysitter("val_los"), check_val_every_n_epoch=3)
    assert len(module.lrs) == 9


@pytest.mark.parametrize(
    ("epochs", "arguments"),
    [
        (1, {}),
        (3, {"check_val_every_n_epoch": 3}),
        (6, {"enable_checkpointing": True}),
        (6, {"enable_checkpointing": True, "limit_val_batches": 0}),
        (6, {"limit_train_batches": 4, "val_check_interval": 0.5}),
    ],
)
def test_a_missing_metric_is_reported_whenever_validations_come_and_whoever_saves(fit, scripted, epochs, arguments):
    module = scripted()
    with pytest.raises(MonitorError, match="Babysitter monitor='val_los' is not logged"):
        fit(module, Babysitter("val_los"), epochs=epochs, **arguments)
    assert len(module.lrs) == epochs * 3 if epochs < 6 else len(module.lrs) <= 4


class Endless(IterableDataset):
    """Digits for ever, of no known length."""

    def __iter__(self):
        while True:
            yield torch.ones(64), torch.tensor(0)


class EndlessDigits(DigitsData):
    def train_dataloader(self):
        return DataLoader(Endless(), batch_size=4)


@pytest.mark.parametrize("monitor", ["val_los", "val_loss"])
def test_in_an_endless_epoch_a_missing_metric_is_a_warning_after_the_first_validation_and_an_error_at_the_end(
    fit, scripted, recwarn, monitor
):
    arguments = {"data": EndlessDigits(), "limit_train_batches": None, "max_steps": 40, "val_check_interval": 10}
    if monitor == "val_los":
        with pytest.raises(MonitorError, match="did you mean 'val_loss'"):
            fit(scripted(), Babysitter(monitor), epochs=-1, **arguments)
    else:
        fit(scripted(), Babysitter(monitor), epochs=-1, **arguments)
    told = [str(warning.message) for warning in recwarn if "Babysitter" in str(warning.message)]
    assert len(told) == (monitor == "val_los")
    assert all("monitor='val_los' is not logged" in each for each in told)


def test_without_validations_the_error_says_so(fit, scripted):
    with pytest.raises(MonitorError, match="it logged train_loss, and no validation ran"):
        fit(scripted(), Babysitter("val_loss"), limit_val_batches=0)


def test_with_logging_off_the_error_says_so(fit, scripted):
    off = dict.fromkeys(["logger", "log_every_n_steps", "enable_progress_bar", "enable_model_summary"])
    with pytest.raises(MonitorError, match=r"Trainer\(barebones=True\) turns all logging off"):
        fit(scripted(), Babysitter("val_loss"), barebones=True, **off)


def test_a_fit_stopped_before_its_first_validation_is_no_error(fit, scripted):
    class Stops(scripted):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.trainer.should_stop = True

    assert fit(Stops(), Babysitter("score"), check_val_every_n_epoch=2).should_stop


def test_a_metric_seen_before_a_checkpoint_is_not_missed_in_a_short_rest(fit, scripted, tmp_path):
    arguments = {"check_val_every_n_epoch": 2}
    fit(scripted(), Babysitter("score"), epochs=2, **arguments).save_checkpoint(tmp_path / "last.ckpt")
    resumed = fit(scripted(), Babysitter("score"), epochs=3, ckpt_path=tmp_path / "last.ckpt", **arguments)
    assert resumed.current_epoch == 3


def test_a_module_that_logs_nothing_is_told_so(fit):
    class Silent(LitDigits):
        def training_step(self, batch, batch_idx):
            return self.loss(self(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            pass

    with pytest.raises(MonitorError, match="it logged nothing"):
        fit(Silent(), Babysitter())


def test_an_infinite_first_value_does_not_stop_the_babysitting(fit, scripted, interventions):
    rising = [math.inf, 0.1, 0.2, 0.3, 0.4, 0.5]
    (record,) = interventions(fit(scripted(rising), Babysitter("score", mode="max", patience=1)))
    assert record.reason == "score: the metric is inf"


def test_a_training_metric_of_the_last_epoch_is_in_the_log(fit):
    trainer = fit(LitDigits(lr=0.01), Babysitter("train_loss"), epochs=2)
    values = [each.number("value") for each in log.read(Path(trainer.log_dir) / log.FILE) if each.event == "state"]
    assert values == [pytest.approx(value) for value in (values[0], float(trainer.callback_metrics["train_loss"]))]


class Manual(LitDigits):
    """Two optimizers make a step at each batch."""

    def __init__(self):
        super().__init__(lr=0.01)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = self.loss(self(batch[0]), batch[1])
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self):
        first, *rest = self.parameters()
        return [torch.optim.SGD(parameters, lr=0.01) for parameters in ([first], rest)]


@pytest.mark.parametrize(
    ("module", "arguments"),
    [(Manual, {"max_steps": 24}), (LitDigits, {"max_steps": 8, "accumulate_grad_batches": 2})],
    ids=["two steps a batch", "a step of the batches that remain"],
)
def test_a_policy_knows_how_many_checks_are_left_where_steps_end_the_fit(fit, module, arguments):
    left = []

    class Counting(Scripted):
        def decide(self, state, look):
            left.append(look.checks_left)
            return state, None

    fit(module(), Babysitter(policy=Counting({})), epochs=-1, **arguments)
    assert left == [4, 3, 2, 1]


def test_without_an_optimizer_there_is_nothing_to_watch(fit):
    class Fixed(LitDigits):
        def configure_optimizers(self):
            return None

    with pytest.raises(ConfigError, match="configure_optimizers gave no optimizer"):
        fit(Fixed(), Babysitter())
