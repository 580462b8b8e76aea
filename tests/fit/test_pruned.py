"""What is pruned in a search is so in the model that comes of it."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import prune

from examples.digits import LitDigits
from lightning_hp import Log


class Pruning(LitDigits):
    def on_validation_epoch_end(self):
        prune.l1_unstructured(self.net[-1], "weight", 0.5)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_model_that_its_own_hook_has_pruned_is_loaded_as_it_was_validated(search, epochs):
    study = search(Pruning, space={"lr": Log(0.1, 0.2)}, trials=1, trainer={"max_epochs": epochs, "accelerator": "cpu"}).run()
    saved = torch.load(study.best.checkpoint, weights_only=True)["state_dict"]
    model, (name,) = study.best.load(), [key.removesuffix("_mask") for key in saved if key.endswith("_mask")]
    assert torch.equal(model.get_parameter(name), saved[f"{name}_orig"] * saved[f"{name}_mask"])
    assert (model.get_parameter(name) == 0).any()
    assert not any("_mask" in key for key in model.state_dict())
