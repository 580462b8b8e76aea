"""What of a module is frozen, for a fit that goes on: weights and optimizer are in Lightning's checkpoints, this is not."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


class Frozen(Callback):
    """Keeps which parameters do not train, which parts are in evaluation mode, and which normalizations do not average.

    What a hook or a callback such as BackboneFinetuning has thawed is frozen again by whatever froze it as the fit began, and
    would stay so where the fit goes on from a later epoch. To stand before the user's callbacks.
    """

    def __init__(self) -> None:
        self._module: LightningModule | None = None
        self._state: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._module = pl_module

    def state_dict(self) -> dict[str, Any]:
        if self._module is None:
            return {}
        parts = dict(self._module.named_modules())
        parameters = [name for name, parameter in self._module.named_parameters() if not parameter.requires_grad]
        norms = [name for name, part in parts.items() if _averages(part) is False]
        # In a validation, all of them are, and nobody knows which were so before.
        evaluating = [name for name, part in parts.items() if not part.training] if self._module.training else None
        return {"parameters": parameters, "norms": norms, "evaluating": evaluating}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = state_dict
        # After all that a fit does as it begins. In others there is nothing to call.
        self.on_train_epoch_start = self._restore  # type: ignore[method-assign]

    def _restore(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del self.on_train_epoch_start
        parameters, norms = set(self._state["parameters"]), set(self._state["norms"])
        # Checkpoints of earlier versions do not tell.
        evaluating = self._state.get("evaluating")
        for name, parameter in pl_module.named_parameters():
            if parameter.requires_grad is (name in parameters):
                parameter.requires_grad_(name not in parameters)
        for name, part in pl_module.named_modules():
            if _averages(part) is (name in norms):
                part.track_running_stats = name not in norms
            if evaluating is not None:
                part.training = name not in evaluating


def _averages(part: nn.Module) -> bool | None:
    """Whether a normalization follows the averages of its batches; None of any other part."""
    return part.track_running_stats if isinstance(part, _NormBase) else None
