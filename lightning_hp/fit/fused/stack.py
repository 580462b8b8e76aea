"""The models of a fused job as one: parameters and buffers stacked along a first axis, the row of each trial.

What is frozen and the same in all models, and buffers that are, have no rows: they are held once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_hp.fit.copies import address
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.shared import Shared


@dataclass(frozen=True)
class Snapshot:
    """Copies of a stack's tensors: of its buffers, and of those that are shared."""

    buffers: dict[str, Tensor]
    shared: dict[str, Tensor]


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
        shared: the others.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = list(models)
        kinds = [[dict(kind(model)) for model in models] for kind in (nn.Module.named_parameters, nn.Module.named_buffers)]
        for owns in kinds:
            _refuse_differences(owns)
        self.shared = Shared(models)
        self.parameters, self.buffers = (_stacked(owns, self.shared.tensors) for owns in kinds)
        self._bind()

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next(iter((self.parameters or self.shared.tensors).values())).device

    def keep(self, rows: Sequence[int]) -> None:
        """Leaves only these rows, in this order. The models of the others get tensors of their own."""
        staying = set(rows)
        for row, model in enumerate(self.models):
            if row not in staying:
                for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                    # The others are its own as soon as it writes to them.
                    if name not in self.shared.tensors:
                        tensor.data = tensor.data.clone()
        index = torch.tensor(rows, dtype=torch.long)
        self.models = [self.models[row] for row in rows]
        self.shared.look(self.models)
        for stacked in (self.parameters, self.buffers):
            for name, tensor in stacked.items():
                own = index.to(tensor.device)
                stacked[name] = tensor.detach()[own].requires_grad_(tensor.requires_grad)
                if tensor.grad is not None:
                    # More batches may be added to it before the step.
                    stacked[name].grad = tensor.grad[own]
        self._bind()

    def replace(self, tensors: dict[str, Tensor]) -> None:
        """Takes over what a step has not updated in place but made anew."""
        self.separate(self.shared.tensors.keys() & tensors.keys())
        for name, tensor in tensors.items():
            self.buffers[name].copy_(tensor)

    def follow(self) -> None:
        """Takes over what a model's hooks have put in the place of its tensors, and what they have frozen or thawed."""
        self.shared.look(self.models)
        self.follow_data()

    def follow_data(self) -> None:
        """Does that where it was by ``tensor.data = ...``, as moving averages of weights do after each batch."""
        self.follow_shared()
        self._follow_rows()

    def follow_shared(self) -> None:
        """Does that with what has no rows. What is no longer the same in all models has rows from then on."""
        for name in self.shared.follow():
            own = self.shared.own(name)
            required = _same_requirement(own)
            self._put(name, torch.stack([tensor.detach() for tensor in own]).requires_grad_(required))

    def separate(self, names: Collection[str]) -> None:
        """Gives tensors rows, all the same yet, that have none."""
        for name in names:
            tensor = self.shared.tensors[name]
            self._put(name, tensor.expand(len(self.models), *tensor.shape).clone(memory_format=torch.contiguous_format))

    def of(self, row: int) -> dict[str, Tensor]:
        """The tensors of one model, by name."""
        rows = {name: tensor[row] for name, tensor in (*self.parameters.items(), *self.buffers.items())}
        return rows | self.shared.of(row)

    def snapshot(self) -> Snapshot:
        """Keeps what steps may change in place, but for the parameters."""
        return Snapshot({name: tensor.clone() for name, tensor in self.buffers.items()}, self.shared.kept())

    def restore(self, snapshot: Snapshot, rows: int | None = None) -> None:
        """Brings that back, also where the models' own steps have run: of all, or of so many models, from the first."""
        # A step may have made a model's buffer anew.
        self._follow_rows(rows)
        for name, tensor in snapshot.buffers.items():
            self.buffers[name].copy_(tensor)
        self.shared.put_back(snapshot.shared)
        self.shared.notice(rows)
        for name in snapshot.shared.keys() - self.shared.tensors.keys():
            (self.parameters if name in self.parameters else self.buffers)[name].detach().copy_(snapshot.shared[name])

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

    def _put(self, name: str, rows: Tensor) -> None:
        """Puts rows in the place of what was shared, and has the models have theirs."""
        own = self.shared.own(name)
        _refuse_one_for_several(name, own)
        self.shared.drop(name)
        (self.parameters if isinstance(own[0], nn.Parameter) else self.buffers)[name] = rows
        for row, tensor in enumerate(own):
            tensor.data = rows.detach()[row]

    def _follow_rows(self, rows: int | None = None) -> None:
        for stacked, tensors in self._pairs(rows):
            # As stacked[row].data_ptr(), which makes a tensor each time.
            first, size = stacked.data_ptr(), stacked.stride(0) * stacked.element_size()
            for row, tensor in enumerate(tensors):
                if address(tensor) != first + row * size:
                    stacked.data[row].copy_(tensor.detach())
                    tensor.data = stacked.detach()[row]
            stacked.requires_grad_(_same_requirement(tensors))

    def _bind(self) -> None:
        for stacked, tensors in self._pairs():
            for row, tensor in enumerate(tensors):
                tensor.data = stacked.detach()[row]

    def _pairs(self, rows: int | None = None) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Each stacked tensor, and the models' own, of so many rows."""
        for name, tensor in (*self.parameters.items(), *self.buffers.items()):
            yield tensor, self.shared.own(name, rows)


def _refuse_differences(models: Sequence[Mapping[str, Tensor]]) -> None:
    for name in {name: None for model in models for name in model}:
        kinds = {(tensor.shape, tensor.dtype) if (tensor := model.get(name)) is not None else None for model in models}
        if len(kinds) > 1:
            raise CannotFuseError(f"{name} has different shapes or types")


def _stacked(models: Sequence[Mapping[str, Tensor]], without: Collection[str]) -> dict[str, Tensor]:
    stacked = {}
    for name in (name for name in models[0] if name not in without):
        tensors = [model[name] for model in models]
        _refuse_one_for_several(name, tensors)
        stacked[name] = torch.stack([tensor.detach() for tensor in tensors]).requires_grad_(_same_requirement(tensors))
    return stacked


def _refuse_one_for_several(name: str, tensors: Sequence[Tensor]) -> None:
    if len({id(tensor) for tensor in tensors}) < len(tensors):
        raise CannotFuseError(f"{name} is one tensor of several trials, which each would train", by_numbers=False)


def _same_requirement(tensors: Sequence[Tensor]) -> bool:
    required = {tensor.requires_grad for tensor in tensors}
    if len(required) > 1:
        raise CannotFuseError("some train a parameter that is frozen in others")
    return required.pop()
