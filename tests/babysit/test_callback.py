"""What one intervention is: when it comes, what it changes, and what it writes down."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.optim.lr_scheduler import StepLR

from lightning_hp import Babysitter
from lightning_hp.babysit.log import FILE, Intervention, read
from lightning_hp.babysit.policy import Knobs


def test_on_a_plateau_lr_halves_and_momentum_takes_one_step(fit, scripted, interventions):
    module = scripted()
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


def test_tensorboard_gets_curves_and_the_sentence(fit, scripted, events):
    trainer = fit(scripted(), Babysitter("score", patience=1))
    seen = events(trainer.log_dir)
    assert seen["babysit/lr"] == [(9, pytest.approx(0.05)), (15, pytest.approx(0.025))]
    assert seen["babysit/momentum"] == [(9, pytest.approx(0.95)), (15, pytest.approx(0.975))]
    (step, text), _ = seen["babysit/text_summary"]
    assert step == 9
    assert text == "plateau: score is 1, and 1 has not been beaten in 2 checks: lr 0.1 -> 0.05, momentum 0.9 -> 0.95"


def test_min_lr_and_max_momentum_end_the_interventions(fit, scripted, interventions):
    module = scripted()
    trainer = fit(module, Babysitter("score", patience=0, min_lr=0.04, max_momentum=0.96), epochs=7)
    assert [each.after[0] for each in interventions(trainer)] == [
        Knobs(0.05, pytest.approx(0.95)),
        Knobs(pytest.approx(0.04), pytest.approx(0.96)),
    ]


def test_adams_beta1_is_its_momentum(fit, scripted, interventions):
    class WithAdam(scripted):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01, betas=(0.8, 0.99))

    module = WithAdam()
    trainer = fit(module, Babysitter("score", patience=1))
    assert interventions(trainer)[0].after == [Knobs(0.005, pytest.approx(0.9))]
    assert trainer.optimizers[0].param_groups[0]["betas"] == (pytest.approx(0.95), 0.99)


def test_momentum_factor_1_leaves_momentum_alone(fit, scripted, interventions):
    trainer = fit(scripted(), Babysitter("score", patience=1, momentum_factor=1))
    assert {each.after[0].momentum for each in interventions(trainer)} == {0.9}


def test_a_step_schedule_goes_on_from_the_new_value(fit, scripted):
    class Stepping(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [StepLR(optimizer, 4, 0.1)]

    module = Stepping()
    fit(module, Babysitter("score", patience=1))
    assert module.lrs == pytest.approx([0.1] * 9 + [0.05] * 3 + [0.005] * 3 + [0.0025] * 3)


def test_without_a_logger_or_with_another_the_log_is_kept(fit, scripted, tmp_path):
    fit(scripted(), Babysitter("score", patience=1), logger=False)
    assert len(read(tmp_path / FILE)) == 2
    trainer = fit(scripted(), Babysitter("score", patience=1), logger=CSVLogger(tmp_path, name="", version="csv"))
    assert len(read(tmp_path / "csv" / FILE)) == 2
    trainer.logger.save()
    assert "babysit/lr" in (tmp_path / "csv/metrics.csv").read_text().splitlines()[0]
