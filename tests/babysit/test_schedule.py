"""A babysat fit's lr and momentum as a schedule: the same in a fit that nobody watches, and as a table."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from examples.digits import LitDigits
from lightning_hp import Babysitter, ConfigError
from lightning_hp.babysit.actions import Adjust, Knobs, Move, Rollback, Snapshot
from lightning_hp.babysit.log import FILE, Record, extend
from lightning_hp.babysit.schedule import Schedule, schedule
from tests.babysit.scripted import Scripted

NEAR = 2e-6
OPTIMIZERS = {
    "sgd": lambda module: torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9),
    "adam": lambda module: torch.optim.Adam(module.parameters(), lr=0.1),
}
SCHEDULES = {
    "none": None,
    "cosine": lambda optimizer: schedulers.CosineAnnealingLR(optimizer, 30),
    "warm-up from 0": lambda optimizer: schedulers.LambdaLR(optimizer, lambda step: min(step / 10, 1)),
    "one cycle": lambda optimizer: schedulers.OneCycleLR(optimizer, 0.4, total_steps=24),
    "restarts": lambda optimizer: schedulers.CosineAnnealingWarmRestarts(optimizer, 5),
}


def optimized(scripted, optimizer, schedule):
    class Optimized(scripted):
        def configure_optimizers(self):
            made = optimizer(self)
            coming = [schedule(made)] if schedule else []
            coming = coming[0] if coming and isinstance(coming[0], list) else coming
            return [made], [{"scheduler": each, "interval": "step"} for each in coming]

    return Optimized()


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_plain_fit_with_it_has_the_lr_and_momentum_of_the_babysat_one(fit, scripted, tmp_path, optimizer, kind):
    moves = Scripted({2: [Adjust((Move(0.2, 0.5),))], 5: [Adjust((Move(3.0, 0.9),))]})
    babysat = optimized(scripted, OPTIMIZERS[optimizer], SCHEDULES[kind])
    fit(babysat, Babysitter("score", policy=moves), epochs=8, version="babysat")
    logged = Babysitter.schedule(tmp_path / "babysat")
    plain = optimized(scripted, OPTIMIZERS[optimizer], lambda own: [logged.lambda_lr(own), logged.lambda_momentum(own)])
    fit(plain, epochs=8, version="plain")
    assert len(logged) == 24
    assert plain.lrs == pytest.approx(babysat.lrs, rel=NEAR)
    assert plain.momenta == pytest.approx(babysat.momenta, rel=NEAR)
    assert len(set(babysat.momenta)) >= 3


def test_the_steps_that_were_undone_are_in_it_only_on_request(fit, scripted, tmp_path):
    moves = Scripted({2: [Snapshot("a")], 4: [Rollback("a"), Adjust((Move(0.5),))]})
    babysat = optimized(scripted, OPTIMIZERS["sgd"], SCHEDULES["cosine"])
    fit(babysat, Babysitter("score", policy=moves), epochs=8, version="babysat")
    everything = schedule(tmp_path / "babysat", discarded=True)
    assert everything.lrs[:, 0].tolist() == pytest.approx(babysat.lrs, rel=NEAR)
    assert schedule(tmp_path / "babysat").lrs[:, 0].tolist() == pytest.approx(babysat.lrs[:6] + babysat.lrs[12:], rel=NEAR)


def test_accumulated_batches_are_one_step(fit, scripted, tmp_path):
    babysat = optimized(scripted, OPTIMIZERS["sgd"], SCHEDULES["cosine"])
    fit(babysat, Babysitter("score"), epochs=4, version="babysat", limit_train_batches=4, accumulate_grad_batches=2)
    by_step = dict(zip(babysat.steps, babysat.lrs, strict=True))
    assert schedule(tmp_path / "babysat").lrs[:, 0].tolist() == pytest.approx([by_step[step] for step in range(8)], rel=NEAR)


def test_a_fit_that_goes_on_has_the_schedule_of_one_in_one_go(fit, scripted, tmp_path):
    def make():
        return optimized(scripted, OPTIMIZERS["sgd"], SCHEDULES["cosine"])

    fit(make(), Babysitter("score", patience=1), epochs=8, version="whole")
    fit(make(), Babysitter("score", patience=1), epochs=3, version="parts").save_checkpoint(tmp_path / "last.ckpt")
    fit(make(), Babysitter("score", patience=1), epochs=8, version="parts", ckpt_path=tmp_path / "last.ckpt")
    assert schedule(tmp_path / "parts").lrs.tolist() == schedule(tmp_path / "whole").lrs.tolist()


def test_its_schedulers_go_through_a_checkpoint(tmp_path):
    steps = np.linspace(0.1, 0.2, 10)[:, None]
    logged = Schedule(steps, steps)

    def stepped(schedulers, used, count):
        for _ in range(count):
            used.step()
            for each in schedulers:
                each.step()
        return used.param_groups[0]["lr"], used.param_groups[0]["momentum"]

    def made():
        used = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3.0, momentum=0.5)
        return [logged.lambda_lr(used), logged.lambda_momentum(used)], used

    first, used = made()
    stepped(first, used, 4)
    torch.save([used.state_dict(), *(each.state_dict() for each in first)], tmp_path / "state.pt")
    second, again = made()
    for part, state in zip([again, *second], torch.load(tmp_path / "state.pt", weights_only=True), strict=True):
        part.load_state_dict(state)
    assert stepped(second, again, 3) == pytest.approx((steps[7, 0], steps[7, 0]))


def test_the_table_has_a_row_for_each_step_and_group(tmp_path):
    table = Schedule(np.array([[0.1, 1.0], [0.05, 0.5]]), np.array([[0.9, np.nan], [0.95, np.nan]]))
    table.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["step", "group", "lr", "momentum"],
        ["0", "0", "0.1", "0.9"],
        ["0", "1", "1.0", ""],
        ["1", "0", "0.05", "0.95"],
        ["1", "1", "0.5", ""],
    ]


def test_each_optimizer_is_followed_in_its_own_steps(fit, tmp_path):
    class Taught(LitDigits):
        """Two optimizers by turns, whose lr somebody sets by hand: the first's at step 4, the second's at step 7."""

        def __init__(self):
            super().__init__(hidden=8, layers=1)
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            for optimizer in self.optimizers():
                set_by_hand = {4: 0.05, 7: 0.02}.get(self.trainer.global_step)
                if set_by_hand is not None:
                    optimizer.param_groups[0]["lr"] = set_by_hand
                optimizer.zero_grad()
                self.manual_backward(self.loss(self(batch[0]), batch[1]))
                optimizer.step()

        def validation_step(self, batch, batch_idx):
            self.log("score", 1.0)

        def configure_optimizers(self):
            weights = list(self.parameters())
            return torch.optim.SGD(weights[:2], lr=0.1, momentum=0.9), torch.optim.Adam(weights[2:], lr=0.01)

    fit(Taught(), Babysitter("score", patience=50), epochs=2)
    found = schedule(tmp_path / "run")
    assert [found.lr(step, 0) for step in (3, 4, 11)] == [0.1, 0.05, 0.05]
    assert [found.lr(step, 1) for step in (6, 7, 11)] == [0.01, 0.02, 0.02]


def test_the_optimizers_of_a_fit_find_their_own_groups():
    logged = Schedule(np.array([[0.1, 0.2, 0.3]]), np.full((1, 3), np.nan))
    weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    second = torch.optim.SGD([{"params": [weight]} for weight in weights], lr=1.0)
    logged.lambda_lr(second, first=1)
    assert [group["lr"] for group in second.param_groups] == [0.2, 0.3]
    with pytest.raises(ConfigError, match="the schedule has 3 parameter groups, and the optimizer groups 2 to 3"):
        logged.lambda_momentum(second, first=2)


def test_an_optimizer_without_an_lr_has_no_multiples():
    logged = Schedule(np.array([[0.1]]), np.array([[0.9]]))
    with pytest.raises(ConfigError, match="which is 0: give the optimizer any other lr"):
        logged.lambda_lr(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0))


def test_a_log_that_lacks_the_beginning_has_no_schedule(fit, scripted, tmp_path):
    fit(scripted(), Babysitter("score"), epochs=3, version="first").save_checkpoint(tmp_path / "last.ckpt")
    fit(scripted(), Babysitter("score"), epochs=6, version="second", ckpt_path=tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match=r"begins at step 8: a schedule needs the log of a whole fit"):
        schedule(tmp_path / "second")
    nothing = Record("decision", 0, 0, 0, "", {"actions": []}, [Knobs(0.1, 0.9)], [Knobs(0.1, 0.9)])
    extend([nothing], tmp_path / "none" / FILE)
    with pytest.raises(ConfigError, match="has no check"):
        schedule(tmp_path / "none")
    with pytest.raises(ConfigError, match="no log of a babysitter"):
        schedule(tmp_path / "nowhere")


def test_an_lr_that_is_infinite_is_in_it(tmp_path):
    record = Record("state", 0, 2, 2, "", {"course": [[0, [0.1], [0.9]], [2, ["inf"], [0.9]], [4, ["inf"], [0.9]]]})
    extend([record], tmp_path / FILE)
    assert schedule(tmp_path).lrs[:, 0].tolist() == [0.1, 0.1, math.inf, math.inf, math.inf]
