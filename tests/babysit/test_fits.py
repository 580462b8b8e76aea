"""The Babysitter in whole fits, beside the rest of Lightning: schedules, loggers, optimizers, other callbacks."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, StochasticWeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import SWALR

from examples.digits import LitDigits
from lightning_hp import Babysitter, Choice
from lightning_hp.babysit.actions import Knobs
from lightning_hp.babysit.log import FILE
from lightning_hp.babysit.log import interventions as read


class Dropped(LitDigits):
    """Digits with dropout, which takes random numbers in every step, and a schedule."""

    def __init__(self):
        super().__init__(lr=1e-2, hidden=16)
        self.net = nn.Sequential(self.net, nn.Dropout(0.2))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [schedulers.CosineAnnealingLR(optimizer, 4)]


def epochs_of(interventions):
    return [each.epoch for each in interventions]


def test_a_real_loss_that_stands_still_is_a_plateau(fit, interventions):
    trainer = fit(LitDigits(lr=1e-12), Babysitter("val_loss", patience=2))
    first, *_ = interventions(trainer)
    assert (first.epoch, first.step) == (4, 12)
    assert first.before[0].lr == 1e-12
    assert first.after[0].lr == pytest.approx(2e-13)
    assert first.reason.startswith("val_loss: 2.")


@pytest.mark.parametrize("make", [LitDigits, Dropped])
@pytest.mark.parametrize("monitor", ["val_loss", "train_loss"])
def test_a_real_fit_that_improves_is_the_same_to_the_last_bit(fit, interventions, tmp_path, make, monitor):
    torch.manual_seed(5)
    alone = make()
    watched = copy.deepcopy(alone)
    first = fit(alone, ModelCheckpoint(tmp_path / "a"), epochs=4, enable_checkpointing=True, limit_train_batches=1.0)
    drawn = torch.get_rng_state()
    callbacks = Babysitter(monitor, patience=0), ModelCheckpoint(tmp_path / "b")
    second = fit(watched, *callbacks, epochs=4, version="watched", enable_checkpointing=True, limit_train_batches=1.0)
    assert interventions(second) == []
    assert torch.equal(drawn, torch.get_rng_state())
    weights = zip(alone.state_dict().values(), watched.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
    states = first.optimizers[0].state_dict()["state"], second.optimizers[0].state_dict()["state"]
    assert all(torch.equal(states[0][i][name], states[1][i][name]) for i in states[0] for name in states[0][i])


def test_the_lr_monitor_shows_the_change(fit, scripted, events):
    monitor = LearningRateMonitor(logging_interval="step", log_momentum=True)
    trainer = fit(scripted(), Babysitter("score", patience=1, momentum_factor=0.5), monitor)
    seen = events(trainer.log_dir)
    lrs = [value for _, value in seen["lr-SGD"]]
    assert lrs == pytest.approx([0.1] * 9 + [0.02] * 6 + [0.004] * 3)
    assert [value for _, value in seen["lr-SGD-momentum"]] == pytest.approx([0.9] * 9 + [0.95] * 6 + [0.975] * 3)
    assert {step for step, _ in seen["babysit/lr"]} == {3, 6, 9, 12, 15, 18}


@pytest.mark.parametrize("cooldown", [0, 2])
@pytest.mark.parametrize(("theirs", "ours"), [(1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 0)])
def test_beside_reduce_on_plateau_there_are_as_many_cuts_as_the_quicker_makes_alone(fit, scripted, theirs, ours, cooldown):
    class Plateaus(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            scheduler = schedulers.ReduceLROnPlateau(optimizer, factor=0.2, patience=theirs, cooldown=cooldown)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "score"}}

    together, alone = Plateaus(), scripted()
    fit(together, Babysitter("score", patience=ours, cooldown=cooldown), epochs=12)
    fit(alone, Babysitter("score", patience=min(theirs, ours), cooldown=cooldown), epochs=12, version="alone")
    assert together.lrs == pytest.approx(alone.lrs)


def test_a_decaying_schedule_is_not_taken_for_a_cut_of_reduce_on_plateau(fit, scripted, interventions):
    class Both(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            decay = schedulers.ExponentialLR(optimizer, 0.99)
            plateau = schedulers.ReduceLROnPlateau(optimizer, factor=0.5, patience=50)
            return [optimizer], [decay, {"scheduler": plateau, "monitor": "score"}]

    trainer = fit(Both(), Babysitter("score", patience=1))
    assert epochs_of(interventions(trainer)) == [3, 5]


HALVED = {
    "one cycle of SGD": (torch.optim.SGD, lambda o: schedulers.OneCycleLR(o, 0.4, total_steps=30)),
    "one cycle of AdamW": (torch.optim.AdamW, lambda o: schedulers.OneCycleLR(o, 0.4, total_steps=30)),
    "one cycle of CyclicLR": (torch.optim.SGD, lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=8)),
    "warm-up by LambdaLR": (torch.optim.SGD, lambda o: schedulers.LambdaLR(o, lambda step: min(1.0, (step + 1) / 20))),
    "warm restarts": (torch.optim.SGD, lambda o: schedulers.CosineAnnealingWarmRestarts(o, 6, eta_min=0.01)),
}


@pytest.mark.parametrize("schedule", HALVED)
def test_a_schedule_of_steps_goes_on_at_half_its_height(fit, scripted, schedule):
    kind, make = HALVED[schedule]

    class Stepping(scripted):
        def configure_optimizers(self):
            optimizer = kind(self.parameters(), lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": make(optimizer), "interval": "step"}}

    alone, watched = Stepping(), Stepping()
    fit(alone, epochs=10)
    fit(watched, Babysitter("score", patience=3, cooldown=20, factor=0.5, momentum_factor=0.5), epochs=10, version="watched")
    at = 15
    assert watched.lrs == pytest.approx([*alone.lrs[:at], *(lr * 0.5 for lr in alone.lrs[at:])])
    assert watched.momenta == pytest.approx([*alone.momenta[:at], *(1 - (1 - each) * 0.5 for each in alone.momenta[at:])])


@pytest.mark.parametrize(("bound", "highest"), [(0.97, 0.97), (0.9, 0.95)])
def test_a_cycling_momentum_is_raised_above_its_bound_at_no_point_of_the_cycle(fit, scripted, bound, highest):
    class OneCycle(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            schedule = schedulers.OneCycleLR(optimizer, 0.4, total_steps=36)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    alone, module = OneCycle(), OneCycle()
    fit(alone, epochs=12)
    fit(module, Babysitter("score", patience=0, max_momentum=bound, momentum_factor=0.5), epochs=12, version="watched")
    assert max(module.momenta) == pytest.approx(highest)
    raised = [now for before, now in zip(alone.momenta, module.momenta, strict=True) if now > before + 1e-9]
    assert all(now <= bound + 1e-9 for now in raised)


def test_steps_in_the_log_are_the_trainers_under_accumulation(fit, scripted, interventions):
    module = scripted()
    trainer = fit(module, Babysitter("score", patience=1), limit_train_batches=5, accumulate_grad_batches=2)
    first, second = interventions(trainer)
    assert (first.step, second.step) == (9, 15)
    changed = [at for at in range(1, len(module.lrs)) if module.lrs[at] != module.lrs[at - 1]]
    assert [module.steps[at] for at in changed] == [9, 15]


class Alternating(LightningModule):
    """Two optimizers by hand, SGD on the first layer and Adam on the second."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = nn.Linear(64, 8), nn.Linear(8, 10)

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            loss = nn.functional.cross_entropy(self.second(self.first(batch[0])), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def validation_step(self, batch, batch_idx):
        self.log("score", 1.0)

    def configure_optimizers(self):
        sgd = torch.optim.SGD(self.first.parameters(), lr=0.1, momentum=0.9)
        return sgd, torch.optim.Adam(self.second.parameters(), lr=0.01, betas=(0.8, 0.99))


def test_both_optimizers_of_a_manual_fit_are_changed_at_the_trainers_step(fit, interventions):
    trainer = fit(Alternating(), Babysitter("score", patience=1, momentum_factor=0.5), epochs=4)
    sgd, adam = (optimizer.param_groups[0] for optimizer in trainer.optimizers)
    assert (sgd["lr"], sgd["momentum"]) == (pytest.approx(0.02), pytest.approx(0.95))
    assert (adam["lr"], adam["betas"]) == (pytest.approx(0.002), (pytest.approx(0.9), 0.99))
    (intervention,) = interventions(trainer)
    # Lightning counts a step for each optimizer.
    assert (intervention.epoch, intervention.step) == (3, 18)
    assert [group.lr for group in intervention.after] == pytest.approx([0.02, 0.002])


def test_curves_of_two_optimizers_are_two_curves(fit, events):
    seen = events(fit(Alternating(), Babysitter("score", patience=1, momentum_factor=0.5), epochs=6).log_dir)
    curves = [points for tag, points in seen.items() if tag.startswith("babysit/lr")]
    assert sorted({round(value, 6) for points in curves for _, value in points}) == [0.0004, 0.002, 0.004, 0.01, 0.02, 0.1]
    assert len(curves) == 2


def test_several_groups_have_a_curve_each(fit, scripted, events, interventions):
    class Groups(scripted):
        def configure_optimizers(self):
            first, *rest = self.parameters()
            groups = [{"params": [first]}, {"params": rest, "lr": 0.02, "momentum": 0.0}]
            return torch.optim.SGD(groups, lr=0.1, momentum=0.9)

    trainer = fit(Groups(), Babysitter("score", patience=1, momentum_factor=0.5), epochs=4)
    (intervention,) = interventions(trainer)
    assert [(group.lr, group.momentum) for group in intervention.after] == [
        (pytest.approx(0.02), pytest.approx(0.95)),
        (pytest.approx(0.004), 0.0),
    ]
    seen = events(trainer.log_dir)
    assert seen["babysit/lr/group0"][-2:] == [(9, pytest.approx(0.02)), (12, pytest.approx(0.02))]
    assert seen["babysit/lr/group1"][-2:] == [(9, pytest.approx(0.004)), (12, pytest.approx(0.004))]
    assert seen["babysit/momentum/group0"][-2:] == [(9, pytest.approx(0.95)), (12, pytest.approx(0.95))]
    assert "lr 0.1, 0.02 -> 0.02, 0.004, momentum 0.9, 0 -> 0.95, 0" in seen["babysit/text_summary"][0][1]


def test_an_optimizer_without_momentum_has_no_curve_of_it(fit, scripted, events, interventions):
    class Adagrad(scripted):
        def on_train_batch_start(self, batch, batch_idx):
            pass

        def configure_optimizers(self):
            return torch.optim.Adagrad(self.parameters(), lr=0.1)

    trainer = fit(Adagrad(), Babysitter("score", patience=1), epochs=4)
    assert interventions(trainer)[0].after[0].momentum is None
    assert {tag for tag in events(trainer.log_dir) if "babysit" in tag} == {
        "babysit/lr",
        "babysit/interventions",
        "babysit/text_summary",
    }


def test_two_loggers_both_get_the_curves_and_the_first_keeps_the_log(fit, scripted, tmp_path, events):
    loggers = [CSVLogger(tmp_path, name="", version="csv"), TensorBoardLogger(tmp_path, name="", version="board")]
    fit(scripted(), Babysitter("score", patience=1), logger=loggers)
    assert len(read(tmp_path / "csv" / FILE)) == 2
    assert not (tmp_path / "board" / FILE).exists()
    assert "babysit/momentum" in (tmp_path / "csv/metrics.csv").read_text().splitlines()[0]
    assert len(events(tmp_path / "board")["babysit/text_summary"]) == 2


def test_a_fit_at_its_bounds_logs_no_empty_interventions(fit, scripted, interventions):
    class TensorLr(scripted):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=torch.tensor(0.4))

    trainer = fit(TensorLr(), Babysitter("score", patience=0, factor=0.5, min_lr=0.1, momentum_factor=1.0), epochs=8)
    assert [each.after[0].lr for each in interventions(trainer)] == pytest.approx([0.2, 0.1])


def test_a_group_at_lr_0_is_never_changed_nor_logged(fit, scripted, interventions):
    class Frozen(scripted):
        def configure_optimizers(self):
            first, *rest = self.parameters()
            groups = [{"params": [first], "lr": 0.0}, {"params": rest}]
            return torch.optim.SGD(groups, lr=0.1, momentum=0.9)

    trainer = fit(Frozen(), Babysitter("score", patience=0, min_lr=0.05, momentum_factor=0.5), epochs=8)
    first, *rest = interventions(trainer)
    assert first.after == [Knobs(0.0, 0.9), Knobs(0.05, pytest.approx(0.95))]
    assert all(each.before != each.after for each in rest)
    assert len(rest) == 3


def test_a_schedule_at_its_end_at_0_is_left_alone(fit, scripted, interventions):
    class Finished(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [schedulers.PolynomialLR(optimizer, 2)]

    assert epochs_of(interventions(fit(Finished(), Babysitter("score", patience=1), epochs=9))) == []


def test_an_lr_that_is_0_for_some_epochs_comes_back_no_lower_than_its_bound(fit, scripted, interventions):
    class Pausing(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [schedulers.LambdaLR(optimizer, lambda epoch: 0.0 if 2 <= epoch < 8 else 1.0)]

    module = Pausing()
    trainer = fit(module, Babysitter("score", patience=0, min_lr=0.01), epochs=12)
    assert epochs_of(interventions(trainer))[0] == 8
    assert module.lrs[-1] == pytest.approx(0.01)


@pytest.mark.parametrize("schedule", ["our own SWALR", "the callback, then a move", "a move, then the callback"])
def test_beside_swa_what_is_lowered_after_its_start_stays_lowered(fit, scripted, schedule):
    class Averaged(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [SWALR(optimizer, swa_lr=0.05, anneal_epochs=4)] if schedule == "our own SWALR" else []

    start = 6 if schedule.startswith("a move") else 2
    own = [] if schedule == "our own SWALR" else [StochasticWeightAveraging(0.05, swa_epoch_start=start, annealing_epochs=4)]
    alone, watched = Averaged(), Averaged()
    fit(alone, *copy.deepcopy(own), epochs=10)
    fit(watched, Babysitter("score", patience=2, cooldown=20), *own, epochs=10, version="watched")
    factors = [now / before for before, now in zip(alone.lrs, watched.lrs, strict=True)]
    assert factors[:12] == pytest.approx([1.0] * 12)
    assert factors[12] == pytest.approx(0.2)
    # The callback sets out for its own swa_lrs, from where the lr stands.
    assert factors[-1] == pytest.approx(1.0 if schedule.startswith("a move") else 0.2)


def test_a_copy_lives_its_own_life(fit, scripted):
    original = Babysitter("score", patience=1)
    first, second = copy.deepcopy(original), copy.deepcopy(original)
    fit(scripted(), first)
    assert first.interventions == 2
    assert second.state_dict() == original.state_dict() == Babysitter("score", patience=1).state_dict()


def test_a_search_gives_each_trial_a_babysitter_of_its_monitor(search, scripted):
    class Flat(scripted):
        def __init__(self, activation):
            super().__init__(activation=activation)

    study = search(
        Flat,
        space={"activation": Choice("relu", "tanh")},
        monitor="score",
        mode="min",
        trials=2,
        babysit=True,
        trainer={"max_epochs": 8, "accelerator": "cpu", "limit_train_batches": 2},
    ).run()
    for trial in study.trials:
        (intervention,) = read(Path(study.root) / f"trials/{trial.number:06d}" / FILE)
        # The default patience of 5 is over with the check of epoch 6.
        assert (intervention.epoch, intervention.step) == (7, 14)
        assert intervention.reason.startswith("score: 1 has not beaten 1")
