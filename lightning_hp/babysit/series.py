"""Collects a series of a fit's training steps without waiting for the device: its numbers come to the host some at a time."""

from __future__ import annotations

import torch
from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

# Training batches from one transfer to the next. The reporter of a search looks at the loss just after one.
EVERY = 10


class Series:
    """Values that have been collected and not yet been handed on, each with the optimizer steps made before it."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._tensors: list[Tensor] = []
        self._numbers: list[float] = []

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, step: int, value: Tensor) -> None:
        self._steps.append(step)
        self._tensors.append(value.detach())

    def extend(self, steps: list[int], numbers: list[float]) -> None:
        """Adds values that are on the host."""
        self._steps += steps
        self._numbers += numbers

    def to_host(self, trainer: Trainer) -> None:
        """Fetches what has been collected; under DDP the mean over all processes, which all have to ask for."""
        if not self._tensors:
            return
        means = [value if value.dim() == 0 else value.float().mean() for value in self._tensors]
        stacked = torch.stack([value.float() for value in means])
        if trainer.world_size > 1:
            stacked = trainer.strategy.reduce(stacked, reduce_op="mean")  # type: ignore[assignment]
        self._numbers += stacked.tolist()
        self._tensors = []

    def take(self, trainer: Trainer) -> list[tuple[int, float]]:
        """What has been collected since the last time."""
        self.to_host(trainer)
        taken = list(zip(self._steps, self._numbers, strict=True))
        self.clear()
        return taken

    def clear(self) -> None:
        self._steps, self._tensors, self._numbers = [], [], []

    def state_dict(self) -> dict[str, list[float]]:
        return {"steps": self._steps, "values": self._numbers + [float(value.mean()) for value in self._tensors]}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        self.clear()
        self._steps, self._numbers = [int(step) for step in state["steps"]], list(state["values"])


def gradient_norm(trainer: Trainer, optimizer: Optimizer) -> Tensor | None:
    """The norm of the gradients that an optimizer is about to step by; None where they say nothing."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None and _optimizer_handles_unscaling(optimizer):
        return None
    if optimizer is not trainer.optimizers[0]:
        return None
    gradients = [each.grad for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
    gradients = [gradient for gradient in gradients if not gradient.is_sparse]
    return torch.nn.utils.get_total_norm(gradients) if gradients else None
