"""What modules keep besides registered tensors is, in each trial, what its hooks have made of it; or keeps the trials apart."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lightning_hp import Int
from lightning_hp.fit.fused import saving
from tests.fit.fused.digits import SPACE, Classifier, assert_alike, assert_the_same_alone, recipe_of, refused, run, trials_of
from tests.fit.fused.frozen import Averaging, pretrained


def linear():
    return pretrained(lambda: nn.Linear(64, 10))


class Target(Classifier):
    """Follows an average of its weights as BYOL does, by new tensors in the place of the old ones."""

    def make(self):
        net = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
        self.target = copy.deepcopy(net).requires_grad_(False)
        return net

    def training_step(self, batch, batch_idx):
        distance = (self.net(batch[0]) - self.target(batch[0])).square().mean()
        self.log("distance", distance)
        return super().training_step(batch, batch_idx) + distance

    def on_train_batch_end(self, outputs, batch, batch_idx):
        for own, learned in zip(self.target.parameters(), self.net.parameters(), strict=True):
            own.data = 0.9 * own.data + 0.1 * learned.data


class Scaled(Classifier):
    """Divides by a tensor that is no buffer, and is changed in place."""

    def make(self):
        self.temperature = torch.tensor(1.0)
        return linear()

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]) / float(self.temperature), batch[1])
        self.log("train_loss", loss)
        return loss

    def on_train_epoch_start(self):
        self.temperature *= 0.5


class ScaledByAnArray(Scaled):
    def make(self):
        self.temperature = np.array(1.0)
        return linear()


class ByPhase(Scaled):
    """Knows by a set what it is to do."""

    def make(self):
        self.phases = set()
        return linear()

    @property
    def temperature(self):
        return 2.0 if "late" in self.phases else 1.0

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.phases.add("late")


class Held:
    def __init__(self, net):
        self.net = net
        self.weight = 1.0


class HoldingAPart(Classifier):
    """Has its network in an object, beside a number that a hook changes."""

    def make(self):
        net = linear()
        self.held = Held(net)
        return net

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.held.net(batch[0]), batch[1]) * self.held.weight
        self.log("train_loss", loss)
        return loss

    def on_train_epoch_start(self):
        self.held.weight = 1.0 + self.current_epoch


class Unregistered(Classifier):
    """Has a teacher in a list, so that it is no part of the module."""

    def make(self):
        self.teachers = [linear().requires_grad_(False)]
        return linear()

    def training_step(self, batch, batch_idx):
        distance = (self.net(batch[0]) - self.teachers[0](batch[0])).square().mean()
        self.log("distance", distance)
        return super().training_step(batch, batch_idx) + distance


class Fading(Unregistered):
    def on_train_epoch_start(self):
        for weight in self.teachers[0].parameters():
            weight.data.mul_(0.5)


class Alternating(Averaging):
    """Its frozen network follows the averages of every other batch."""

    def on_train_batch_start(self, batch, batch_idx):
        self.backbone.train(batch_idx % 2 == 0)


@pytest.mark.parametrize("kind", [Target, Scaled, ScaledByAnArray, ByPhase, HoldingAPart, Unregistered, Fading, Alternating])
def test_what_hooks_change_is_seen_by_the_next_step(kind, tmp_path):
    assert_the_same_alone(kind, tmp_path)


class Following(Unregistered):
    """The teacher is an average of what each trial learns."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        for own, learned in zip(self.teachers[0].parameters(), self.net.parameters(), strict=True):
            own.data.lerp_(learned.data, 0.1)


class Normed(Unregistered):
    """The teacher follows the averages of what it sees."""

    def make(self):
        net = super().make()
        self.teachers = [nn.Sequential(nn.BatchNorm1d(64), linear()).requires_grad_(False)]
        return net


class Normalized(Classifier):
    """Has weights that each step makes of others, and leaves in the module."""

    def make(self):
        return nn.Sequential(nn.utils.spectral_norm(linear()))


class Anchored(Classifier):
    """Is to stay near what it begins with, and has forgotten to copy that."""

    def make(self):
        net = linear()
        self.anchor = net.state_dict()
        return net

    def training_step(self, batch, batch_idx):
        away = sum((own - self.anchor[name]).square().sum() for name, own in self.net.named_parameters())
        self.log("away", away)
        return super().training_step(batch, batch_idx)


class Watching(Classifier):
    """Logs the size of its weights, which it has in a list."""

    def make(self):
        net = linear()
        self.weights = list(net.parameters())
        return net

    def training_step(self, batch, batch_idx):
        self.log("size", self.weights[0].detach().norm())
        return super().training_step(batch, batch_idx)


class CountingLate(Classifier):
    """Counts batches from the third on, for a hook."""

    count = 0

    def training_step(self, batch, batch_idx):
        if batch_idx >= 2:
            self.count += 1
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self):
        self.log("count", float(self.count))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Following, "teachers.0.weight differs (Parameter containing: tensor([[-0.000..., "),
        (Normed, "training_step changes teachers.0.0.num_batches_tracked of the module"),
        (Normalized, "validation_step changes net.0.weight of the module"),
        (Anchored, "anchor.weight is in the memory of net.weight, which trains"),
        (Watching, "weights.0 is net.weight, which trains"),
        (CountingLate, "a step changes count of the module"),
    ],
)
def test_what_a_step_of_all_trials_cannot_see_keeps_them_apart(kind, reason, tmp_path):
    # Within an epoch, too: there may be no other.
    assert refused(recipe_of(kind, tmp_path, trainer={"max_epochs": 1})).reason.startswith(reason)


class WatchingTheThawed(Classifier):
    """Draws to zero what it has in a list, which is frozen and the same in all trials until a hook thaws it."""

    def make(self):
        self.scale = nn.Parameter(torch.ones(64), requires_grad=False)
        self.others = [self.scale]
        return linear()

    def training_step(self, batch, batch_idx):
        return super().training_step((batch[0] * self.scale, batch[1]), batch_idx) + sum(map(torch.norm, self.others))

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.scale.requires_grad_(True)
            self.optimizers().add_param_group({"params": [self.scale]})


class WatchingWhatABatchThaws(WatchingTheThawed):
    def on_train_epoch_start(self):
        pass

    def on_train_batch_start(self, batch, batch_idx):
        self.scale.requires_grad_(self.global_step > 9)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


@pytest.mark.parametrize("kind", [WatchingTheThawed, WatchingWhatABatchThaws])
def test_what_trains_only_after_a_hook_has_thawed_it_is_not_read_by_another_place(kind, tmp_path):
    settings = {"trainer": {"max_epochs": 3}}
    assert refused(recipe_of(kind, tmp_path, **settings)).reason == "others.0 is scale, which trains"


class ParametersForTheOptimizer(Watching):
    training_step = Classifier.training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.weights, self.lr)


def test_a_list_of_parameters_that_no_step_reads_is_no_matter(tmp_path):
    assert_the_same_alone(ParametersForTheOptimizer, tmp_path)


class NamedByANumber(Classifier):
    def __init__(self, lr, momentum, k):
        super().__init__(lr, momentum)
        self.k = k

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("recall_at_" + str(self.k), 1.0)


def test_metrics_that_a_number_names_keep_trials_apart(tmp_path):
    recipe = recipe_of(NamedByANumber, tmp_path, space={**SPACE, "k": Int(1, 9)})
    assert refused(recipe).reason == "validation_step logs by names that differ, such as recall_at_" + str(
        trials_of(recipe)[0].hparams["k"]
    )


class FollowingByEpoch(Following):
    """Has this from the second epoch on, when there are checkpoints, which do not hold the teacher."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        pass

    def on_train_epoch_end(self):
        super().on_train_batch_end(None, None, 0)


def test_trials_that_are_kept_apart_by_what_no_checkpoint_holds_begin_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "PARTS", 0)
    recipes = {name: recipe_of(FollowingByEpoch, tmp_path / name, trainer={"max_epochs": 3}) for name in ("tried", "alone")}
    trials = trials_of(recipes["tried"])
    assert refused(recipes["tried"]).reason.startswith("teachers.0.weight differs")
    tried, alone = (run(recipe, [[trial] for trial in trials]) for recipe in recipes.values())
    for number, outcome in alone.items():
        assert_alike(tried[number], outcome)
