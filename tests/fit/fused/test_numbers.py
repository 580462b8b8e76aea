"""Numbers in which trials differ are for a step what they are by themselves, whatever it asks of them."""

from __future__ import annotations

from numbers import Number

import pytest
import torch

from lightning_hp import Int, Linear
from tests.fit.fused.digits import SPACE, Classifier, assert_the_same_alone, recipe_of, refused


class Asking(Classifier):
    """Goes by the type of its numbers, but not in its first epoch, when fused steps are compared."""

    def training_step(self, batch, batch_idx):
        loss, h = super().training_step(batch, batch_idx), self.hparams
        if self.current_epoch > 0:
            loss = loss * (2 if isinstance(h.power, int) and not isinstance(h.power, float) else 3)
            loss = loss * (h.weight if isinstance(h.weight, (float, Number)) and isinstance(h.weight, float) else 3)
        return loss


class Drawing(Classifier):
    """Has distributions made of a number, which they take for one or for a tensor by its type."""

    def training_step(self, batch, batch_idx):
        weight = self.hparams.weight
        prior = [torch.distributions.Normal(0.0, weight), torch.distributions.Laplace(torch.zeros(10), torch.as_tensor(weight))]
        return super().training_step(batch, batch_idx) - 0.01 * sum(each.log_prob(self.net[2].bias).sum() for each in prior)


@pytest.mark.parametrize("kind", [Asking, Drawing])
def test_a_step_goes_by_what_its_numbers_are(kind, tmp_path):
    assert_the_same_alone(kind, tmp_path, space={**SPACE, "weight": Linear(0.5, 2.0), "power": Int(1, 5)})


class Naming(Classifier):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log(f"train_loss_{self.hparams.power}", loss)
        return loss


def test_a_text_made_of_a_number_keeps_trials_apart(tmp_path):
    reason = refused(recipe_of(Naming, tmp_path, space={**SPACE, "power": Int(1, 5)}))
    assert reason.differing == ("power",)


class Prior(Classifier):
    """Keeps a distribution."""

    def __init__(self, lr, momentum, weight=1.0, power=0):
        super().__init__(lr, momentum)
        self.save_hyperparameters()
        self.prior = torch.distributions.Normal(0.0, weight)

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) - 0.01 * self.prior.log_prob(self.net[2].bias).sum()


def test_trials_train_as_one_whose_distribution_is_the_same(tmp_path):
    assert_the_same_alone(Prior, tmp_path)
    different = recipe_of(Prior, tmp_path, space={**SPACE, "weight": Linear(0.5, 2.0)})
    assert "prior.scale differs" in refused(different).reason
