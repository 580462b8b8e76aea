"""The models of a fused job as one: parameters and buffers stacked along a first axis, the row of each trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


class Stack:
    """Stacks the parameters and buffers of models that have the same structure.

    The models stay whole: their parameters and buffers become views of the rows, so that what updates a row updates its model
    and the other way round. An optimizer, a hook or a checkpoint of one model sees an ordinary model.

    Args:
        models: one per row, on the device where they train.

    Attributes:
        parameters: by name, leaves of shape (rows, ...).
        buffers: by name, of shape (rows, ...).
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = list(models)
        parameters = [dict(model.named_parameters()) for model in models]
        buffers = [dict(model.named_buffers()) for model in models]
        self.parameters = {name: _stacked([each[name] for each in parameters]) for name in parameters[0]}
        self.buffers = {name: _stacked([each[name] for each in buffers]) for name in buffers[0]}
        self._bind()

    def keep(self, rows: Sequence[int]) -> None:
        """Leaves only these rows, in this order. The models of the others get tensors of their own."""
        for row, model in enumerate(self.models):
            if row not in rows:
                for tensor in (*model.parameters(), *model.buffers()):
                    tensor.data = tensor.data.clone()
        index = torch.tensor(rows, dtype=torch.long)
        self.models = [self.models[row] for row in rows]
        for stacked in (self.parameters, self.buffers):
            for name, tensor in stacked.items():
                stacked[name] = tensor.detach()[index.to(tensor.device)].requires_grad_(tensor.requires_grad)
        self._bind()

    def replace(self, buffers: dict[str, Tensor]) -> None:
        """Takes over buffers that a step has not updated in place but made anew."""
        for name, tensor in buffers.items():
            self.buffers[name].copy_(tensor)

    def follow(self) -> None:
        """Takes over what a model's hooks have put in the place of its views, and what they have frozen or thawed."""
        for stacked, tensors in self._pairs():
            for row, tensor in enumerate(tensors):
                if tensor.data_ptr() != stacked[row].data_ptr():
                    stacked.data[row].copy_(tensor.detach())
                    tensor.data = stacked.detach()[row]
            stacked.requires_grad_(tensors[0].requires_grad)

    def _bind(self) -> None:
        for stacked, tensors in self._pairs():
            for row, tensor in enumerate(tensors):
                tensor.data = stacked.detach()[row]

    def _pairs(self) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Each stacked tensor, and the models' own."""
        for stacked, kind in ((self.parameters, nn.Module.named_parameters), (self.buffers, nn.Module.named_buffers)):
            owns = [dict(kind(model)) for model in self.models]
            for name, tensor in stacked.items():
                yield tensor, [own[name] for own in owns]


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack([tensor.detach() for tensor in tensors])
    return stacked.requires_grad_(tensors[0].requires_grad)
