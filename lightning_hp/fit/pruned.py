"""What of a module is pruned by torch.nn.utils.prune, as Lightning's ModelPruning does, for a fit that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import prune


class Pruned(Callback):
    """Keeps the masks and what they lie over, which checkpoints of ModelPruning leave out, and a new module does not have yet.

    Without them a fit that goes on would train again, until the next pruning, what had been pruned. To stand before the user's
    callbacks, and before those that know parameters by their names, which pruning changes.
    """

    def __init__(self) -> None:
        self._module: LightningModule | None = None
        self._state: dict[str, dict[str, list[Tensor]]] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._module = pl_module

    def state_dict(self) -> dict[str, Any]:
        return {} if self._module is None else {name: pruned for name, pruned in _pruned(self._module) if pruned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = state_dict
        # The optimizer has been made by then, which knows parameters by their order. In other fits there is nothing to call.
        self.on_train_epoch_start = self._restore  # type: ignore[method-assign]

    def _restore(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del self.on_train_epoch_start
        for part, pruned in self._state.items():
            module = pl_module.get_submodule(part)
            for name, (original, mask) in pruned.items():
                if not hasattr(module, f"{name}_mask"):
                    prune.custom_from_mask(module, name, mask.to(pl_module.device))  # type: ignore[no-untyped-call]
                    getattr(module, f"{name}_orig").data.copy_(original)


def unpruned(state: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """A model's state as one takes it that is not pruned: with the product where there are a tensor and its mask.

    >>> layer = prune.l1_unstructured(nn.Linear(2, 1), "weight", 1)
    >>> sorted(unpruned(layer.state_dict(), nn.Linear(2, 1))), sorted(unpruned(layer.state_dict(), layer))
    (['bias', 'weight'], ['bias', 'weight_mask', 'weight_orig'])
    """
    masked = [key.removesuffix("_mask") for key in state.keys() - model.state_dict().keys() if key.endswith("_mask")]
    masked = [name for name in masked if f"{name}_orig" in state]
    if not masked:
        return state
    parts = {f"{name}_{part}" for name in masked for part in ("orig", "mask")}
    products = {name: state[f"{name}_orig"] * state[f"{name}_mask"] for name in masked}
    return {key: value for key, value in state.items() if key not in parts} | products


def _pruned(module: nn.Module) -> Iterator[tuple[str, dict[str, list[Tensor]]]]:
    """What is pruned in each part, by name: the tensor as it would be without its mask, and the mask."""
    for name, part in module.named_modules():
        pruning = [each for each in part._forward_pre_hooks.values() if isinstance(each, prune.BasePruningMethod)]
        names = [each._tensor_name for each in pruning]
        yield name, {each: [getattr(part, f"{each}_{what}").detach() for what in ("orig", "mask")] for each in names}
