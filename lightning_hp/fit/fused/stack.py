"""The models of a fused job as one: parameters and buffers stacked along a first axis, the row of each trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lightning_hp.fit.fused.errors import CannotFuseError


class Stack:
    """Stacks the parameters and buffers of models that have the same structure.

    The models stay whole: their parameters and buffers become views of the rows, so that what updates a row updates its model
    and the other way round. An optimizer, a hook or a checkpoint of one model sees an ordinary model.

    Args:
        models: one per row, on the device where they train.

    Raises:
        CannotFuseError: the models do not have the same structure.

    Attributes:
        parameters: by name, leaves of shape (rows, ...).
        buffers: by name, of shape (rows, ...).
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = list(models)
        self.parameters = _stacked([dict(model.named_parameters()) for model in models])
        self.buffers = _stacked([dict(model.named_buffers()) for model in models])
        self._bind()

    def keep(self, rows: Sequence[int]) -> None:
        """Leaves only these rows, in this order. The models of the others get tensors of their own."""
        staying = set(rows)
        for row, model in enumerate(self.models):
            if row not in staying:
                for tensor in (*model.parameters(), *model.buffers()):
                    tensor.data = tensor.data.clone()
        index = torch.tensor(rows, dtype=torch.long)
        self.models = [self.models[row] for row in rows]
        for stacked in (self.parameters, self.buffers):
            for name, tensor in stacked.items():
                own = index.to(tensor.device)
                stacked[name] = tensor.detach()[own].requires_grad_(tensor.requires_grad)
                if tensor.grad is not None:
                    # More batches may be added to it before the step.
                    stacked[name].grad = tensor.grad[own]
        self._bind()

    def replace(self, buffers: dict[str, Tensor]) -> None:
        """Takes over buffers that a step has not updated in place but made anew."""
        for name, tensor in buffers.items():
            self.buffers[name].copy_(tensor)

    def follow(self, rows: int | None = None) -> None:
        """Takes over what a model's hooks have put in the place of its views, and what they have frozen or thawed.

        Args:
            rows: how many may have, from the first; None for all.
        """
        for stacked, tensors in self._pairs(rows):
            # As stacked[row].data_ptr(), which makes a tensor each time.
            first, size = stacked.data_ptr(), stacked.stride(0) * stacked.element_size()
            for row, tensor in enumerate(tensors):
                if tensor.data_ptr() != first + row * size:
                    stacked.data[row].copy_(tensor.detach())
                    tensor.data = stacked.detach()[row]
            stacked.requires_grad_(_same_requirement(tensors))

    @contextmanager
    def as_new(self) -> Iterator[None]:
        """Has leaves of its own for a while, in the same memory, of which no graph that is still alive knows.

        Such a graph would have the gradients wait for the stream on which it was made.
        """
        own = self.parameters
        self.parameters = {name: tensor.detach().requires_grad_(tensor.requires_grad) for name, tensor in own.items()}
        try:
            yield
        finally:
            self.parameters = own

    def _bind(self) -> None:
        for stacked, tensors in self._pairs():
            for row, tensor in enumerate(tensors):
                tensor.data = stacked.detach()[row]

    def _pairs(self, rows: int | None = None) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Each stacked tensor, and the models' own, of so many rows."""
        for stacked, kind in ((self.parameters, nn.Module.named_parameters), (self.buffers, nn.Module.named_buffers)):
            owns = [dict(kind(model)) for model in self.models[:rows]]
            for name, tensor in stacked.items():
                yield tensor, [own[name] for own in owns]


def _stacked(models: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    for name in {name: None for model in models for name in model}:
        kinds = {(tensor.shape, tensor.dtype) if (tensor := model.get(name)) is not None else None for model in models}
        if len(kinds) > 1:
            raise CannotFuseError(f"{name} has different shapes or types")
    stacked = {}
    for name in models[0]:
        tensors = [model[name] for model in models]
        stacked[name] = torch.stack([tensor.detach() for tensor in tensors]).requires_grad_(_same_requirement(tensors))
    return stacked


def _same_requirement(tensors: Sequence[Tensor]) -> bool:
    required = {tensor.requires_grad for tensor in tensors}
    if len(required) > 1:
        raise CannotFuseError("some train a parameter that is frozen in others")
    return required.pop()
