"""Snapshots: all of a fit comes back to the last bit, from memory, from a file and from a checkpoint; steps and data run on."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.optim import lr_scheduler as schedulers

from lightning_hp.babysit import hands, snapshots
from lightning_hp.babysit.actions import Adjust, Move, Rollback, Skip, Snapshot, Stop
from lightning_hp.babysit.hands import Hands


class Acting(Callback):
    """Carries out actions before the batches of these numbers; keeps how the fit stands before and after each."""

    def __init__(self, script):
        self.script = script
        self.before, self.after, self.done = {}, {}, {}

    def setup(self, trainer, pl_module, stage):
        self.hands = Hands(Path(trainer.default_root_dir) / "snapshots")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        at = trainer.fit_loop.epoch_loop.total_batch_idx
        if at in self.script:
            self.before[at] = standing(trainer)
            self.done[at] = [self.hands.carry_out(trainer, action) for action in self.script[at]]
            self.after[at] = standing(trainer)

    def on_after_backward(self, trainer, pl_module):
        self.hands.after_backward(trainer)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.hands.before_step(trainer, optimizer)


def standing(trainer):
    """All that a snapshot holds, apart from it."""
    state = {"model": trainer.lightning_module.state_dict(), "precision": trainer.precision_plugin.state_dict()}
    state["buffers"] = dict(trainer.lightning_module.named_buffers())
    state["optimizers"] = [optimizer.state_dict() for optimizer in trainer.optimizers]
    state["schedulers"] = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    return copy.deepcopy(state)


def same(first, second):
    """Whether nests of values and tensors are equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def normed(scripted):
    """With running averages, one of which no checkpoint has, and a schedule."""

    class Normed(scripted):
        def __init__(self, **hparams):
            super().__init__(**hparams)
            self.net = nn.Sequential(nn.BatchNorm1d(64), self.net)
            self.register_buffer("seen", torch.zeros(1), persistent=False)

        def forward(self, images):
            return self.net(images.flatten(1))

        def training_step(self, batch, batch_idx):
            self.seen += 1
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
            schedule = schedulers.OneCycleLR(optimizer, 0.02, total_steps=50)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    return Normed


@pytest.fixture
def act(fit, tmp_path):
    def run(module, script, **arguments):
        acting = Acting(script)
        acting.trainer = fit(module, acting, **({"epochs": 4, "default_root_dir": tmp_path} | arguments))
        return acting

    return run


@pytest.mark.parametrize("most", [None, 0], ids=["in memory", "in a file"])
def test_a_rollback_brings_all_back_and_leaves_the_steps(act, scripted, most, monkeypatch, tmp_path):
    if most is not None:
        monkeypatch.setattr(snapshots, "MOST_IN_MEMORY", most)
    acting = act(normed(scripted)(), {4: [Snapshot("a")], 9: [Rollback("a")]})
    assert not same(acting.before[9], acting.before[4])
    assert same(acting.after[9], acting.before[4])
    assert acting.before[4]["buffers"]["seen"] == 4
    assert acting.trainer.global_step == 12
    assert bool(list((tmp_path / "snapshots").glob("*"))) == (most == 0)
    del acting.hands
    gc.collect()
    assert list((tmp_path / "snapshots").glob("*")) == []


def test_training_after_a_rollback_leaves_the_snapshot_as_it_was(act, scripted):
    acting = act(normed(scripted)(), {4: [Snapshot("a")], 6: [Rollback("a")], 9: [Rollback("a")]})
    assert same(acting.after[9], acting.before[4])


def test_a_snapshot_goes_through_a_checkpoint_that_runs_no_code(act, scripted, tmp_path):
    acting = act(normed(scripted)(), {4: [Snapshot("a")], 6: [Adjust((Move(0.5, 0.5),))]})
    torch.save(acting.hands.state_dict(), tmp_path / "hands.pt")
    other = Hands(tmp_path)
    other.load_state_dict(torch.load(tmp_path / "hands.pt", weights_only=True))
    assert same(other.snapshots.get("a"), acting.hands.snapshots.get("a"))
    other.carry_out(acting.trainer, Rollback("a", keep_moves=False))
    assert same(standing(acting.trainer), acting.before[4])


@pytest.mark.parametrize(("keep_moves", "factors"), [(True, (0.1, 0.05)), (False, (0.5, 0.5))])
def test_moves_made_since_a_snapshot_are_made_again_if_wanted(act, scripted, keep_moves, factors):
    script = {
        2: [Snapshot("a")],
        3: [Adjust((Move(0.2, 1.0),))],
        5: [Rollback("a", keep_moves=keep_moves), Adjust((Move(0.5, 1.0),))],
        7: [Rollback("a", keep_moves=keep_moves), Adjust((Move(0.5, 1.0),))],
    }
    module = scripted()
    act(module, script)
    assert (module.lrs[5] / 0.1, module.lrs[7] / 0.1) == pytest.approx(factors)


def test_going_back_without_moves_is_told_to_the_other_snapshots(act, scripted):
    up, down = Adjust((Move(4.0, 1.0),)), Adjust((Move(0.5, 1.0),))
    script = {
        1: [Snapshot("good")],
        2: [Snapshot("base"), up],
        3: [Snapshot("leader"), Rollback("base", keep_moves=False), down],
        5: [Rollback("good")],
        6: [Rollback("leader", keep_moves=False)],
        7: [Rollback("good")],
    }
    module = scripted()
    act(module, script)
    # From "good" on, it is always where lr stood that counts.
    assert [lr / 0.1 for lr in module.lrs[3:8]] == pytest.approx([0.5, 0.5, 0.5, 4.0, 4.0])


def test_several_optimizers_of_a_manual_fit_come_back(act, scripted):
    class Manual(scripted):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.other = nn.Linear(64, 10)

        def training_step(self, batch, batch_idx):
            images, labels = batch[0].flatten(1), batch[1]
            for optimizer, net in zip(self.optimizers(), (self.net, self.other), strict=True):
                optimizer.zero_grad()
                self.manual_backward(nn.functional.cross_entropy(net(images), labels))
                optimizer.step()

        def configure_optimizers(self):
            sgd = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
            return sgd, torch.optim.Adam(self.other.parameters(), lr=0.01)

    script = {4: [Snapshot("a")], 6: [Adjust((Move(0.5), Move(0.1)))], 8: [Rollback("a", keep_moves=False)], 9: [Skip(100)]}
    acting = act(Manual(), script)
    assert same(acting.after[8], acting.before[4])
    assert same(acting.after[9]["model"], standing(acting.trainer)["model"])


def test_loss_scales_come_back_and_skipped_batches_leave_them_whole(act, scripted):
    acting = act(
        normed(scripted)(),
        {4: [Snapshot("a")], 8: [Rollback("a"), Skip(2)], 10: []},
        plugins=MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", growth_interval=3)),
        gradient_clip_val=1.0,
    )
    assert acting.before[8]["precision"] != acting.before[4]["precision"]
    assert same(acting.after[8], acting.before[4])
    weights = {name: value for name, value in acting.before[10]["model"].items() if "weight" in name}
    assert all(torch.equal(value, acting.before[4]["model"][name]) for name, value in weights.items())


@pytest.mark.parametrize("accumulate", [1, 3])
def test_batches_that_are_passed_over_change_no_weights(act, scripted, accumulate):
    script = {3: [Skip(3)], 6: []}
    acting = act(scripted(), script, accumulate_grad_batches=accumulate)
    assert same(acting.before[6]["model"], acting.before[3]["model"])
    assert same(acting.before[6]["optimizers"], acting.before[3]["optimizers"])
    assert not same(standing(acting.trainer)["model"], acting.before[6]["model"])
    assert acting.trainer.global_step == 12 / accumulate


def test_gradients_accumulated_before_a_rollback_do_not_count_after_it(act, scripted):
    class Exploding(scripted):
        def training_step(self, batch, batch_idx):
            at = self.trainer.fit_loop.epoch_loop.total_batch_idx
            return super().training_step(batch, batch_idx) * (float("nan") if at == 6 else 1.0)

    acting = act(Exploding(), {3: [Snapshot("a")], 7: [Rollback("a")]}, accumulate_grad_batches=3)
    assert all(value.isfinite().all() for value in standing(acting.trainer)["model"].values())


@pytest.fixture
def thawing(scripted):
    class Thawing(scripted):
        def configure_optimizers(self):
            first, *rest = self.parameters()
            self.first = first
            return torch.optim.SGD(rest, lr=0.1, momentum=0.9)

        def on_train_epoch_start(self):
            if self.current_epoch == 2:
                self.trainer.optimizers[0].add_param_group({"params": [self.first], "lr": 0.01})

    return Thawing


def test_what_was_thawed_since_a_snapshot_keeps_training_after_it(act, thawing):
    acting = act(thawing(), {4: [Snapshot("a")], 8: [Rollback("a")]})
    assert same(acting.after[8]["model"], acting.before[4]["model"])
    groups = acting.trainer.optimizers[0].param_groups
    assert [group["lr"] for group in groups] == [0.1, 0.01]
    assert not torch.equal(standing(acting.trainer)["model"]["net.1.weight"], acting.before[4]["model"]["net.1.weight"])


@pytest.mark.parametrize(("keep_moves", "lrs"), [(True, [0.05, 0.005]), (False, [0.1, 0.01])])
def test_a_group_thawed_since_a_snapshot_has_the_moves_once_or_not_at_all(act, thawing, keep_moves, lrs):
    halved = Adjust((Move(0.5), Move(0.5)))
    acting = act(thawing(), {4: [Snapshot("a")], 7: [halved], 8: [Rollback("a", keep_moves)], 9: [Rollback("a", keep_moves)]})
    assert [group["lr"] for group in acting.trainer.optimizers[0].param_groups] == pytest.approx(lrs)


def test_a_schedule_that_swa_has_replaced_is_left_as_it_is(fit, scripted, tmp_path):
    class Scheduled(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [schedulers.StepLR(optimizer, 1, 0.5)]

    acting = Acting({2: [Snapshot("a")], 10: [Rollback("a")]})
    averaging = StochasticWeightAveraging(0.05, swa_epoch_start=2, annealing_epochs=2)
    fit(Scheduled(), averaging, acting, epochs=5, default_root_dir=tmp_path)
    (before,), (after,) = acting.before[10]["schedulers"], acting.after[10]["schedulers"]
    assert all(before[key] == after[key] for key in ("last_epoch", "base_lrs", "_last_lr"))
    assert acting.after[10]["optimizers"][0]["param_groups"] == acting.before[10]["optimizers"][0]["param_groups"]


def test_a_stop_ends_the_fit_whatever_min_epochs_says(act, scripted):
    acting = act(scripted(), {4: [Stop()]}, min_epochs=4)
    assert acting.trainer.current_epoch < 4
    assert acting.hands.stopped


def test_what_cannot_be_done_is_told(act, scripted):
    acting = act(scripted(), {2: [Rollback("none"), Adjust((Move(),)), Adjust((Move(0.5),))]})
    assert acting.done[2] == [False, False, True]
    assert hands.read(acting.trainer)[0].lr == 0.05
