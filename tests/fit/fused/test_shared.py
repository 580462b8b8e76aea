"""What is frozen is held and computed once for all trials, and each trial ends as it does by itself."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, Callback, EarlyStopping
from torch import nn

from lightning_hp import Log, ReverseLog
from lightning_hp.fit import copies
from lightning_hp.fit.checkpoints import LAST
from lightning_hp.fit.copies import address
from lightning_hp.fit.fused import rows_at_once, saving
from lightning_hp.fit.fused.best import BestWeights
from lightning_hp.fit.fused.stack import Stack
from lightning_hp.fit.fused.step import FusedStep
from tests.fit.fused.digits import (
    SPACE,
    Classifier,
    assert_alike,
    assert_same_curves,
    assert_the_same_alone,
    loaders,
    recipe_of,
    run,
    trained,
    trials_of,
)
from tests.fit.fused.frozen import OWN, Adapted, Attentive, Averaging, Head, Normed, Words, convolutional, pretrained
from tests.fit.fused.test_graphs import made, replays  # noqa: F401

THREE = {"max_epochs": 3}


@pytest.fixture(autouse=True)
def seen():
    OWN.clear()
    return OWN


@pytest.mark.parametrize("kind", [Head, Averaging, Normed, Adapted, Words, Attentive])
def test_trials_with_a_frozen_part_end_as_each_by_itself(kind, tmp_path, seen):
    assert_the_same_alone(kind, tmp_path, trainer=THREE)
    assert not any(seen)


def test_where_torch_has_no_lazy_copies_each_trial_has_its_own(tmp_path, monkeypatch, seen):
    monkeypatch.setattr(copies, "_KNOWN", False)
    monkeypatch.delattr(torch._C, "_is_cow_tensor")
    monkeypatch.delattr(torch._C, "_data_address")
    together = trained(Averaging, tmp_path / "together", True, trainer=THREE)
    assert any(seen)
    for number, outcome in trained(Averaging, tmp_path / "alone", False, trainer=THREE).items():
        assert_alike(together[number], outcome)


def test_a_search_over_heads_ends_as_its_trials_by_themselves(search, tmp_path, seen):
    arguments = {"space": SPACE, "monitor": "val_loss", "mode": "min", "data": loaders, "trials": 4}
    studies = [search(Averaging, fuse=fuse, root_dir=tmp_path / fuse, **arguments).run() for fuse in ("always", "never")]
    assert not any(seen)
    for ours, theirs in zip(studies[0].trials, studies[1].trials, strict=True):
        assert_alike(ours, theirs)


@pytest.mark.parametrize("kind", [Head, Averaging, Adapted])
def test_recorded_steps_take_what_is_shared_from_where_it_stays(kind, made, tmp_path, seen):  # noqa: F811
    assert_the_same_alone(kind, tmp_path, trainer={"max_epochs": 4})
    assert not any(seen)
    assert {each.obstacle for each in made} == {None}
    assert replays(made) == 2 + 4 * 7 - 1


@pytest.mark.parametrize("kind", [Head, Averaging, Normed])
def test_trials_in_parts_update_what_they_share_once(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(rows_at_once, "LARGEST", 1)
    assert_the_same_alone(kind, tmp_path)


@pytest.mark.run_each_time
def test_only_what_each_trial_has_of_its_own_counts_for_how_many_are_run_at_once(tmp_path, monkeypatch):
    parts, run_rows = [], FusedStep._run_rows

    def noted(step, name, *args):
        parts.append(step.most.get(name))
        return run_rows(step, name, *args)

    monkeypatch.setattr(FusedStep, "_run_rows", noted)
    # What a head gives for a batch of 50; the network below makes more for each image.
    monkeypatch.setattr(rows_at_once, "LARGEST", 3 * 4 * 50 * 10)
    trained(Head, tmp_path, True, trials=3)
    assert min(parts) >= 3


class Thawed(Head):
    def make(self):
        self.backbone = pretrained(convolutional)
        return nn.Linear(32, 10)

    def configure_optimizers(self):
        return torch.optim.SGD([each for each in self.parameters() if each.requires_grad], self.lr, self.momentum)


@pytest.mark.parametrize("train_bn", [True, False])
def test_what_is_thawed_in_the_course_is_each_trials_own_from_then_on(train_bn, tmp_path, seen):
    thaw = partial(BackboneFinetuning, unfreeze_backbone_at_epoch=1, verbose=False, train_bn=train_bn)
    assert_the_same_alone(Thawed, tmp_path, trainer={**THREE, "callbacks": [thaw]})
    first = seen.index(True)
    # With normalizations that train, no trial's features are another's.
    assert first > 0 or train_bn
    assert not any(seen[:first])


class Settling(Averaging):
    """Its frozen network's averages stay as they are from the second epoch on."""

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.backbone.eval()


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("kind", [Averaging, Adapted, Thawed, Settling])
def test_an_interrupted_job_ends_as_if_it_had_not_been(kind, epoch, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "PARTS", 0)
    interrupts = set()

    class Interrupted(kind):
        def on_train_epoch_start(self):
            if self.current_epoch in interrupts:
                raise KeyboardInterrupt
            super().on_train_epoch_start()

    thaw = partial(BackboneFinetuning, unfreeze_backbone_at_epoch=1, verbose=False, train_bn=False)
    trainer = {**THREE, "callbacks": [thaw] if kind is Thawed else []}
    recipes = {name: recipe_of(Interrupted, tmp_path / name, trainer=trainer) for name in ("whole", "interrupted")}
    trials = trials_of(recipes["whole"])
    theirs = run(recipes["whole"], [trials])
    interrupts.add(epoch)
    with pytest.raises(KeyboardInterrupt):
        run(recipes["interrupted"], [trials])
    interrupts.clear()
    ours = run(recipes["interrupted"], [trials])
    for number, outcome in theirs.items():
        assert_alike(ours[number], outcome)


def test_trials_that_stop_early_leave_the_others_what_they_share(tmp_path, seen):
    stopping = partial(EarlyStopping, "val_loss", patience=1, min_delta=0.02)
    space = {"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99)}
    settings = {"trials": 6, "space": space, "trainer": {"max_epochs": 10, "callbacks": [stopping]}}
    fused = trained(Averaging, tmp_path / "fused", True, **settings)
    assert not any(seen)
    alone = trained(Averaging, tmp_path / "alone", False, **settings)
    assert len({outcome.epochs for outcome in alone.values()}) > 1
    for number, outcome in alone.items():
        assert_alike(fused[number], outcome)
        assert_same_curves(tmp_path / "fused", tmp_path / "alone", number)


class Teacher(Classifier):
    """Learns from an average of its own weights, which begins as the same in all trials."""

    def make(self):
        net = pretrained(lambda: nn.Linear(64, 10))
        self.teacher = copy.deepcopy(net).requires_grad_(False)
        return net

    def training_step(self, batch, batch_idx):
        difference = (self.net(batch[0]) - self.teacher(batch[0])).square().mean()
        self.log("difference", difference)
        return super().training_step(batch, batch_idx) + difference

    def on_train_batch_end(self, outputs, batch, batch_idx):
        for own, learned in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
            own.data.lerp_(learned.data, 0.1)


class InTheStep(Teacher):
    """Does so in its step."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        with torch.no_grad():
            for own, learned in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
                own.lerp_(learned, 0.1)
        return loss

    def on_train_batch_end(self, outputs, batch, batch_idx):
        pass


class Shrinking(Head):
    """One trial alone changes its frozen weights, in the second epoch."""

    def on_train_epoch_start(self):
        if self.current_epoch == 1 and self.lr == LRS[1]:
            self.backbone[1].weight.data.mul_(0.5)


class Swapping(Head):
    """A hook puts other weights in the place of frozen ones, the same in all trials, and takes them out again."""

    def on_validation_start(self):
        self.kept = {name: tensor.clone() for name, tensor in self.backbone.state_dict().items()}
        self.backbone.load_state_dict({name: tensor * 2 for name, tensor in self.kept.items()})

    def on_validation_end(self):
        self.backbone.load_state_dict(self.kept)


LRS = [trial.hparams["lr"] for trial in trials_of(recipe_of(Head, None))]


@pytest.mark.parametrize("kind", [Teacher, InTheStep, Shrinking, Swapping])
def test_what_hooks_and_steps_change_of_it_is_the_trials_own(kind, tmp_path, seen):
    assert_the_same_alone(kind, tmp_path, trainer=THREE)
    assert any(seen) is (kind is Shrinking)


class ChangingModes(Averaging):
    """Has its frozen network take part in the training, as to its averages, from the second epoch on."""

    def make(self):
        head = super().make()
        self.scale = nn.Parameter(torch.ones(64))
        self.backbone.eval()
        return head

    def training_step(self, batch, batch_idx):
        # Which then are of what each trial has scaled.
        return super().training_step((batch[0] * self.scale, batch[1]), batch_idx)

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.backbone.train()


class Dropping(Averaging):
    """Each trial drops its own from amid the network on, between two normalizations."""

    def make(self):
        head = super().make()
        self.backbone.insert(4, nn.Dropout(1e-4))
        return head


@pytest.mark.parametrize("kind", [ChangingModes, Dropping])
def test_what_is_no_longer_the_same_is_found_in_a_step(kind, tmp_path):
    fused = trained(kind, tmp_path / "fused", True, trainer=THREE)
    alone = trained(kind, tmp_path / "alone", False, trainer=THREE)
    for number, outcome in alone.items():
        assert fused[number].state == outcome.state == "complete"
        ours, theirs = fused[number].metrics["val_loss"], outcome.metrics["val_loss"]
        assert ours == pytest.approx(theirs, rel=1e-3 if kind is ChangingModes else 0.05)


NOTES: dict[tuple[str, float], list[torch.Tensor]] = {}


class Noting(Callback):
    """Writes down the frozen network's averages, as any hook may."""

    def note(self, trainer, pl_module):
        key = str(trainer.default_root_dir).split("/")[-3], pl_module.lr
        NOTES.setdefault(key, []).append(pl_module.backbone[2].running_mean.clone())

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.note(trainer, pl_module)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.note(trainer, pl_module)

    on_train_epoch_start = on_train_epoch_end = on_validation_start = on_validation_end = note


def test_hooks_see_what_steps_have_made_of_it(tmp_path):
    NOTES.clear()
    assert_the_same_alone(Averaging, tmp_path, trainer={"callbacks": [Noting]})
    for lr in LRS:
        for ours, theirs in zip(NOTES["fused", lr], NOTES["alone", lr], strict=True):
            torch.testing.assert_close(ours, theirs)


class Remembering(Head):
    """Keeps features, which are the same for all trials, for a hook."""

    def training_step(self, batch, batch_idx):
        self.features = self.backbone(batch[0])
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self):
        self.log("features", self.features.square().mean())
        self.factor = self.current_epoch


def test_hooks_see_the_features_of_the_last_batch(tmp_path):
    assert_the_same_alone(Remembering, tmp_path, trainer=THREE)


class Large(Head):
    def make(self):
        head = super().make()
        self.backbone.append(pretrained(lambda: nn.Linear(32, 3000)).requires_grad_(False))
        return nn.Sequential(nn.Linear(3000, 4), head.__class__(4, 10))


class Watched(Large):
    def on_train_epoch_start(self):
        pass


@pytest.mark.parametrize("kind", [Large, Watched])
def test_a_file_of_several_trials_holds_it_once(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "PARTS", 0)
    sizes = []

    def look(event):
        paths = list(tmp_path.rglob(LAST))
        sizes.extend(path.stat().st_size for path in paths if path.stat().st_nlink == 4)

    recipe = recipe_of(kind, tmp_path, trainer=THREE)
    outcomes = run(recipe, [trials_of(recipe, 4)], emit=look)
    backbone, own = 4 * 33 * 3000, 4 * 3001 * 4
    # For weights to go on with, momentum and those of the best epoch.
    assert backbone < min(sizes)
    assert max(sizes) < 2 * backbone + 4 * 3 * own + 300_000
    for outcome in outcomes.values():
        assert outcome.checkpoint.stat().st_size == pytest.approx(backbone + own, abs=30_000)
        assert torch.equal(
            torch.load(outcome.checkpoint, weights_only=True)["state_dict"]["backbone.10.weight"],
            pretrained(lambda: nn.Linear(32, 3000)).weight,
        )


def test_the_best_weights_are_no_copies_of_it():
    models = [nn.Sequential(pretrained(lambda: nn.Linear(4, 4)).requires_grad_(False), nn.Linear(4, 2)) for _ in range(3)]
    stack, best = Stack(models), BestWeights([7, 8, 9])
    best.keep(stack, {0: 7, 1: 8, 2: 9})
    assert {address(best.of(trial)["0.weight"]) for trial in (7, 8, 9)} == {address(models[0][0].weight)}
    before = models[0][0].weight.clone()
    for model in models:
        model[0].weight.data.zero_()
    stack.follow()
    best.keep(stack, {1: 8})
    assert [bool(best.of(trial)["0.weight"].any()) for trial in (7, 8, 9)] == [True, False, True]
    assert torch.equal(best.of(7)["0.weight"], before)


def test_models_are_made_without_a_copy_each(tmp_path):
    addresses = []

    class Looking(Large):
        def setup(self, stage):
            addresses.append(address(self.backbone[-1].weight))

    trained(Looking, tmp_path, True, trials=4, trainer={"max_epochs": 1})
    assert len(addresses) == 4
    assert len(set(addresses)) == 1
