"""Series of a fit's training steps, collected without waiting for the device: numbers come to the host some at a time."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

# Training batches from one transfer to the next. The reporter of a search looks at the loss just after one.
EVERY = 16
# Optimizer steps from one sample of the gradient's norm to the next, as near as the hearings of losses between them allow.
NORM_EVERY = 50


class Losses:
    """Losses that have been collected and not yet been handed on, each with the optimizer steps made before it.

    Attributes:
        waiting: what batches have given for their losses, to be fetched; what is no tensor does not count.
        step: the optimizer steps made before the first of those.
        quiet_until: the number of the epoch's batch after which to ask next whether they are heard.
        several: whether there are several processes, as known since `begin`.
    """

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.step = 0
        self.quiet_until = 0
        self._fetched: list[tuple[int, float]] = []
        self.several, self._automatic = False, True

    def begin(self, trainer: Trainer) -> None:
        """A fit begins, or goes on."""
        self.step = trainer.global_step
        # To ask for these each time would cost as much as the values.
        self.several = trainer.world_size > 1
        self._automatic = trainer.lightning_module.automatic_optimization

    def clear(self, step: int) -> None:
        """Starts anew, after so many optimizer steps."""
        self.waiting, self._fetched, self.step = [], [], step

    def are_heard(self, trainer: Trainer, batch_idx: int) -> bool:
        """Whether they are heard after a batch: every so many, and after an epoch's last."""
        batches = trainer.num_training_batches
        # Of data without a length, each may be the last.
        self.quiet_until = 0 if math.isinf(batches) else min((batch_idx + 1) // EVERY * EVERY + EVERY, int(batches)) - 1
        return (batch_idx + 1) % EVERY == 0 or trainer.is_last_batch

    def extend(self, numbers: list[float], trainer: Trainer) -> None:
        """Takes in values that are on the host, of all batches since the last."""
        # To ask for the step of each would cost more than all the rest.
        first, self.step, count = self.step, trainer.global_step, len(numbers)
        made = self.step - first
        self._fetched += [(first + made * index // count, number) for index, number in enumerate(numbers)]

    def fetch(self, trainer: Trainer) -> None:
        """Fetches what has been collected; under DDP the mean over all processes, which all have to ask for."""
        waiting, self.waiting = self.waiting, []
        losses = [value for value in waiting if isinstance(value, Tensor)]
        if losses:
            numbers = self._numbers(losses, trainer)
            # Lightning has divided each.
            parts = trainer.accumulate_grad_batches if self._automatic else 1
            self.extend(numbers if parts == 1 else [number * parts for number in numbers], trainer)
        elif waiting:
            self.step = trainer.global_step

    def take(self, trainer: Trainer) -> list[tuple[int, float]]:
        """What has been collected since the last time."""
        self.fetch(trainer)
        taken, self._fetched = self._fetched, []
        return taken

    def state_dict(self) -> list[tuple[int, float]]:
        """What was fetched; a checkpoint is to be preceded by that."""
        return list(self._fetched)

    def load_state_dict(self, state: list[tuple[int, float]]) -> None:
        self._fetched = list(state)

    def _numbers(self, values: list[Tensor], trainer: Trainer) -> list[float]:
        if not self.several and values[0].device.type == "cpu":
            # Nothing to wait for, and quicker than a tensor of them.
            return [value.item() if value.dim() == 0 else value.mean().item() for value in values]
        stacked = torch.stack([value if value.dim() == 0 else value.mean() for value in values]).float()
        numbers: list[float] = (trainer.strategy.reduce(stacked, reduce_op="mean") if self.several else stacked).tolist()
        return numbers


class Norms:
    """The gradient's norm at every so many optimizer steps, each with the steps made before it.

    Args:
        wanted: whether there is anyone to sample it for.

    Attributes:
        due: whether it is to be sampled at the step that comes. A count at each step would cost as much as all else there.
    """

    def __init__(self, wanted: bool) -> None:
        self.due = self._wanted = wanted
        # The step of the last sample.
        self._sampled = 0
        self._norms: list[tuple[int, Tensor | float]] = []

    def __bool__(self) -> bool:
        return bool(self._norms)

    def look(self, step: int) -> None:
        """Has it sampled at the next step, if it is time, after so many."""
        self.due = self._wanted and (self.due or step - self._sampled > NORM_EVERY - EVERY / 2)

    def add(self, step: int, norm: Tensor | float | None) -> None:
        """Takes in the norm of the gradients that an optimizer is about to step by; None where they say nothing."""
        self.due, self._sampled = False, step
        if norm is not None:
            self._norms.append((step, norm))

    def take(self) -> list[tuple[int, float]]:
        """Those since the last time."""
        norms, self._norms = self._norms, []
        return [(step, float(norm)) for step, norm in norms]

    def clear(self) -> None:
        self._norms = []

    def state_dict(self) -> dict[str, Any]:
        return {"due": self.due, "sampled": self._sampled, "norms": [(step, float(norm)) for step, norm in self._norms]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.due, self._sampled, self._norms = state["due"], state["sampled"], list(state["norms"])


def gradient_norm(trainer: Trainer, optimizer: Optimizer) -> Tensor | float | None:
    """The norm of the gradients that an optimizer is about to step by; None where they say nothing."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None and _optimizer_handles_unscaling(optimizer):
        return None
    gradients = [grad for group in optimizer.param_groups for each in group["params"] if (grad := each.grad) is not None]
    gradients = [gradient for gradient in gradients if not gradient.is_sparse]
    if gradients and all(type(gradient) is Tensor and gradient.device.type == "cpu" for gradient in gradients):
        # Nothing to wait for, and half the time.
        return math.hypot(*[torch.linalg.vector_norm(gradient).item() for gradient in gradients])
    return torch.nn.utils.get_total_norm(gradients) if gradients else None
