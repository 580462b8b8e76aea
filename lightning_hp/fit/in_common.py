"""Modules that models of several trials have in common: what one trial trains in them, the next one begins with."""

from __future__ import annotations

import warnings
from weakref import WeakSet

from lightning.pytorch import LightningModule
from torch import nn

# Of all models that were made in this process and are still there.
_parts: WeakSet[nn.Module] = WeakSet()


def tell_parts_in_common(model: LightningModule) -> None:
    """Warns where a trial's new model has a module that an earlier one has too, and that training changes."""
    for path, part in model.named_modules():
        if part in _parts and _trains(part):
            name = type(model).__name__
            warnings.warn(
                f"the models of several trials have one and the same {type(part).__name__}, {path}: each begins with what "
                f"others have made of it. Let {name}.__init__ make or copy it, or hand it over: lambda lr: {name}(module, lr)",
                stacklevel=2,
            )
            break
    _parts.update(model.modules())


def _trains(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters()) or (
        part.training and any(True for _ in part.buffers())
    )
