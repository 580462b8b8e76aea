"""Modules that several trials' models have in common are told of, where trials change them."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from tests.fit.fused.digits import Classifier, recipe_of

BACKBONE = nn.Linear(2, 2)
NORM = nn.BatchNorm1d(2)
HPARAMS = {"lr": 0.1, "momentum": 0.9}


class Taking(Classifier):
    """Takes a module from its script."""

    taken: nn.Module = BACKBONE

    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        self.backbone = self.taken


class Counting(Taking):
    taken = NORM


class Frozen(Taking):
    taken = nn.Linear(2, 2).requires_grad_(False)


class Evaluated(Taking):
    taken = nn.BatchNorm1d(2).requires_grad_(False).eval()


class Copying(Taking):
    def __init__(self, lr, momentum):
        super().__init__(lr, momentum)
        self.backbone = nn.Linear(2, 2)
        self.backbone.load_state_dict(BACKBONE.state_dict())


class Handed(Classifier):
    def __init__(self, backbone, lr, momentum):
        super().__init__(lr, momentum)
        self.backbone = backbone


@pytest.mark.parametrize(("kind", "told"), [(Taking, "one and the same Linear, backbone"), (Counting, "BatchNorm1d, backbone")])
def test_what_trials_change_is_told_of(kind, told, tmp_path):
    recipe = recipe_of(kind, tmp_path)
    first = recipe.make_model(HPARAMS)
    with pytest.warns(UserWarning, match=rf"{told}: each begins .* Let {kind.__name__}.__init__"):
        second = recipe.make_model(HPARAMS)
    assert first.backbone is second.backbone


@pytest.mark.parametrize("make", [Frozen, Evaluated, Copying, lambda lr, momentum: Handed(BACKBONE, lr, momentum)])
def test_what_no_trial_changes_or_each_has_for_itself_is_not(make, tmp_path):
    recipe = recipe_of(make, tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the models of several trials")
        models = [recipe.make_model(HPARAMS) for _ in range(2)]
    assert all(isinstance(model.backbone, nn.Module) for model in models)


def test_a_backbone_that_is_handed_over_begins_anew_in_each_trial(tmp_path):
    recipe = recipe_of(lambda lr, momentum: Handed(BACKBONE, lr, momentum), tmp_path)
    first = recipe.make_model(HPARAMS)
    with torch.no_grad():
        first.backbone.weight.zero_()
    assert torch.equal(recipe.make_model(HPARAMS).backbone.weight, BACKBONE.weight)
    assert BACKBONE.weight.any()
