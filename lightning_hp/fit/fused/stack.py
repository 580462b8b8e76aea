"""The models of a fused job as one: parameters and buffers stacked along a first axis, the row of each trial."""

from __future__ import annotations

from collections.abc import Sequence

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

    def follow_frozen(self) -> None:
        """Has a parameter learn only if the models say so, which hooks may have changed. All models say the same."""
        for name, tensor in self.parameters.items():
            tensor.requires_grad_(self.models[0].get_parameter(name).requires_grad)

    def _bind(self) -> None:
        for row, model in enumerate(self.models):
            own = dict(model.named_parameters())
            for name, tensor in self.parameters.items():
                own[name].data = tensor.detach()[row]
            own_buffers = dict(model.named_buffers())
            for name, tensor in self.buffers.items():
                own_buffers[name].data = tensor[row]


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack([tensor.detach() for tensor in tensors])
    return stacked.requires_grad_(tensors[0].requires_grad)
