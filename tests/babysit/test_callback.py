"""What one intervention is: when it comes, what it changes, and what it writes down."""

from __future__ import annotations

from inspect import signature

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger
from torch.optim.lr_scheduler import StepLR

from lightning_hp import Babysitter, ConfigError
from lightning_hp.babysit.actions import Knobs
from lightning_hp.babysit.log import FILE
from lightning_hp.babysit.log import interventions as read


def test_on_a_plateau_lr_falls_to_a_fifth_and_momentum_takes_one_step_if_that_is_wanted(fit, scripted, interventions):
    module = scripted()
    trainer = fit(module, Babysitter("score", patience=1, momentum_factor=0.5))
    # Checks 0 (the best), 1 and 2 (no better): lr changes with the first batch of epoch 3.
    assert module.lrs == pytest.approx([0.1] * 9 + [0.02] * 6 + [0.004] * 3)
    first, second = interventions(trainer)
    assert (first.event, first.epoch, first.step, first.batch) == ("decision", 3, 9, 9)
    assert first.reason == "score: 1 has not beaten 1 in 2 checks"
    assert first.before == [Knobs(0.1, 0.9)]
    assert first.after == [Knobs(pytest.approx(0.02), pytest.approx(0.95))]
    assert (second.epoch, second.step, second.after[0].momentum) == (5, 15, pytest.approx(0.975))


def test_tensorboard_gets_curves_and_the_sentence(fit, scripted, events):
    trainer = fit(scripted(), Babysitter("score", patience=1, momentum_factor=0.5))
    seen = events(trainer.log_dir)
    # One point a check, and one more where something was done.
    lrs = [(3, 0.1), (6, 0.1), (9, 0.1), (9, 0.02), (12, 0.02), (15, 0.02), (15, 0.004), (18, 0.004)]
    assert seen["babysit/lr"] == [(step, pytest.approx(lr)) for step, lr in lrs]
    assert [value for _, value in seen["babysit/momentum"]][3:7] == pytest.approx([0.95, 0.95, 0.95, 0.975])
    (step, text), _ = seen["babysit/text_summary"]
    assert step == 9
    assert text == "score: 1 has not beaten 1 in 2 checks: lr 0.1 -> 0.02, momentum 0.9 -> 0.95"


def test_lr_and_momentum_together_shorten_the_step_that_sgd_settles_at(fit, scripted, interventions):
    (intervention,) = interventions(fit(scripted(), Babysitter("score", patience=1, momentum_factor=0.5), epochs=4))
    before, after = (knobs.lr / (1 - knobs.momentum) for (knobs,) in (intervention.before, intervention.after))
    assert after == pytest.approx(0.4 * before)


def test_min_lr_and_max_momentum_end_the_interventions(fit, scripted, interventions):
    module = scripted()
    bounds = {"min_lr": 0.04, "max_momentum": 0.96}
    trainer = fit(module, Babysitter("score", patience=0, factor=0.5, momentum_factor=0.5, **bounds), epochs=7)
    assert [each.after[0] for each in interventions(trainer)] == [
        Knobs(0.05, pytest.approx(0.95)),
        Knobs(pytest.approx(0.04), pytest.approx(0.96)),
    ]


def test_adams_beta1_is_its_momentum(fit, scripted, interventions):
    class WithAdam(scripted):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01, betas=(0.8, 0.99))

    module = WithAdam()
    trainer = fit(module, Babysitter("score", patience=1, momentum_factor=0.5))
    assert interventions(trainer)[0].after == [Knobs(pytest.approx(0.002), pytest.approx(0.9))]
    assert trainer.optimizers[0].param_groups[0]["betas"] == (pytest.approx(0.95), 0.99)


def test_momentum_is_left_alone_unless_it_is_wanted(fit, scripted, interventions):
    trainer = fit(scripted(), Babysitter("score", patience=1))
    assert {each.after[0].momentum for each in interventions(trainer)} == {0.9}


def test_a_step_schedule_goes_on_from_the_new_value(fit, scripted):
    class Stepping(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [StepLR(optimizer, 4, 0.1)]

    module = Stepping()
    fit(module, Babysitter("score", patience=1))
    assert module.lrs == pytest.approx([0.1] * 9 + [0.02] * 3 + [0.002] * 3 + [0.0004] * 3)


def test_without_a_logger_or_with_another_the_log_is_kept(fit, scripted, tmp_path):
    fit(scripted(), Babysitter("score", patience=1), logger=False)
    assert len(read(tmp_path / FILE)) == 2
    trainer = fit(scripted(), Babysitter("score", patience=1), logger=CSVLogger(tmp_path, name="", version="csv"))
    assert len(read(tmp_path / "csv" / FILE)) == 2
    trainer.logger.save()
    assert "babysit/lr" in (tmp_path / "csv/metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("monitor", ["", 3, ["val_loss"]]),
        ("mode", ["", "MIN", "auto", 1]),
        ("patience", [-1, 0.5, "3", None, True, float("inf")]),
        ("min_delta", [-1e-9, "0", None, False, float("nan"), float("inf")]),
        ("cooldown", [-1, 2.0, None, True]),
        ("factor", [0, 0.0, -0.5, 1, 1.5, None, True, float("nan")]),
        ("min_lr", [-1e-9, "1e-3", None, float("nan"), float("inf")]),
        ("momentum_factor", [0, -1, 1.01, "1", float("nan")]),
        ("max_momentum", [-0.1, 1, 1.5, None, float("inf")]),
    ],
)
def test_a_wrong_argument_is_refused_with_its_name_and_value(argument, values):
    for value in values:
        with pytest.raises(ConfigError) as error:
            Babysitter(**{argument: value})
        assert str(error.value).startswith(f"Babysitter needs {argument} to be ")
        assert str(error.value).endswith(f"got {value!r}")


@pytest.mark.parametrize(
    "arguments",
    [{"patience": 0}, {"min_delta": 0}, {"momentum_factor": 1}, {"max_momentum": 0}, {"min_lr": 1}, {"factor": 0.999}],
)
def test_values_at_the_edge_of_their_range_are_taken(arguments):
    assert Babysitter(**arguments).describe().items() >= arguments.items()


def test_numbers_of_numpy_are_numbers():
    babysitter = Babysitter(patience=np.int64(3), factor=np.float32(0.5), min_lr=np.float64(1e-4), cooldown=np.int32(1))
    assert babysitter.describe() == Babysitter(patience=3, factor=0.5, min_lr=1e-4, cooldown=1).describe()
    assert {type(value) for value in babysitter.describe().values()} == {type(None), int, float, str}


def test_a_babysitter_describes_itself_by_its_arguments():
    arguments = {"monitor": "val_acc", "mode": "max", "patience": 3, "min_delta": 0.0, "cooldown": 1}
    arguments |= {"factor": 0.5, "min_lr": 1e-5, "momentum_factor": 1.0, "max_momentum": 0.95}
    arguments |= {"policy": "reduce", "signals": None, "max_interventions": 3}
    assert Babysitter(**arguments).describe() == arguments
    assert list(Babysitter().describe()) == list(signature(Babysitter).parameters)
    assert Babysitter(**Babysitter().describe()).describe() == Babysitter().describe()
    assert yaml.safe_load(yaml.safe_dump(arguments)) == arguments


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("val_acc", "max")),
        ({"patience": 3}, ("val_acc", "max")),
        ({"monitor": "val_acc"}, ("val_acc", "max")),
        ({"monitor": "train_loss"}, ("train_loss", "min")),
        ({"monitor": "train_acc", "mode": "max"}, ("train_acc", "max")),
        ({"mode": "min"}, ("val_acc", "min")),
    ],
)
def test_in_a_search_a_babysitter_watches_the_searchs_metric_unless_it_has_its_own(given, expected):
    babysitter = Babysitter(**given)
    trial = babysitter.for_search("val_acc", "max")
    assert (trial.monitor, trial.plateau.mode) == expected
    assert trial.describe() == babysitter.describe()
    assert trial.plateau.patience == babysitter.plateau.patience


def test_alone_a_babysitter_watches_val_loss():
    assert Babysitter().state_key == Babysitter("val_loss", mode="min").state_key


def test_each_trial_gets_a_fresh_babysitter(fit, scripted):
    babysitter = Babysitter(patience=1)
    fit(scripted(), babysitter)
    trial = babysitter.for_search("score", "min")
    fit(scripted(), trial)
    assert trial.interventions == 2
    assert babysitter.for_search("score", "min").state_dict() == Babysitter("score", patience=1).state_dict()
