"""What all models of a fused job have in common, held once: weights that are frozen and buffers, as far as they are the same.

A step takes these tensors without a first axis for the rows. So what it computes of them and of the batch alone is computed
once for all rows: of a search over heads, the whole forward pass of the network below them.

Each model keeps tensors of its own by the same names. They are lazy copies: whoever writes to one, such as a hook of one trial,
writes to that model's alone, and it is seen here by the copy's new place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_hp.fit.copies import address, lazy_copy, possible, same


class Shared:
    """The tensors that are the same in all models.

    Args:
        models: one per row, of the same structure.

    Attributes:
        tensors: by name.
        updated: the names of those that steps update in place, all rows alike, as batch normalization does its averages.
        stale: whether steps have run since the models were handed what these have made of them.
        changes: how often a tensor here has become another one; a recorded step takes it from where it was.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.updated: set[str] = set()
        self.stale = False
        self.changes = 0
        # What the models were given copies of; kept, since of several copies the last one does not move when it is written to.
        self._handed: dict[str, Tensor] = {}
        # Where the tensors were then, and how often they had been written to.
        self._seen: dict[str, tuple[int, int]] = {}
        self.look(models)
        for name, tensor in (*models[0].named_parameters(), *models[0].named_buffers()):
            own = self.own(name)
            if all(possible(each) and not each.requires_grad for each in own) and same(own):
                # Its own count of what is written to it, which a detached one would have in common with the model's.
                self.tensors[name] = tensor.data
                self._hand_out(name)

    def look(self, models: Sequence[nn.Module]) -> None:
        """Finds the places of the tensors in these models, which are those of the rows from now on."""
        self._places = [_places(model) for model in models]

    def own(self, name: str, rows: int | None = None) -> list[Tensor]:
        """The models' own tensors of that name, of so many rows, from the first; None for all."""
        found = [places[name] for places in self._places[:rows]]
        return [kept[key] for kept, key in found]

    def of(self, row: int) -> dict[str, Tensor]:
        """One model's own tensors, by name."""
        found = {name: self._places[row][name] for name in self.tensors}
        return {name: kept[key] for name, (kept, key) in found.items()}

    def hand_out(self) -> None:
        """Gives the models what steps have made of the tensors."""
        if self.stale:
            self.stale = False
            for name, tensor in self.tensors.items():
                if self._untouched(name):
                    continue
                if name in self.updated or not same([tensor, self._handed[name]]):
                    self._note(name)
                    self._hand_out(name)
                else:
                    self._seen[name] = _state(tensor)

    def follow(self) -> list[str]:
        """Takes over what hooks have changed in all models alike.

        Returns:
            The names of what is no longer the same in all of them, or trains by now.
        """
        apart = []
        for name, tensor in self.tensors.items():
            own = self.own(name)
            if not any(each.requires_grad or self._moved(name, each) for each in own):
                continue
            if any(each.requires_grad for each in own) or not same(own):
                apart.append(name)
                continue
            if not same([tensor, own[0]]):
                self.tensors[name] = own[0].detach().clone()
                self.changes += 1
            self._hand_out(name)
        return apart

    def notice(self, rows: int | None = None) -> None:
        """Takes what has been written to the models' own for what steps do, and gives the models the tensors as they are here.

        Args:
            rows: how many models may have been written to, from the first; None for all.
        """
        for name, tensor in self.tensors.items():
            written = [each for each in self.own(name, rows) if self._moved(name, each)]
            if written:
                if name not in self.updated and not same([tensor, *written]):
                    self._note(name)
                self._hand_out(name)

    def kept(self) -> dict[str, Tensor]:
        """Copies that stay as they are whatever a step does; without memory of their own, of what no step updates."""
        kept = {name: tensor.clone() for name, tensor in self.tensors.items() if not self._untouched(name)}
        return {name: kept[name] if name in kept else lazy_copy(self._handed[name]) for name in self.tensors}

    def put_back(self, kept: dict[str, Tensor]) -> None:
        """Has the tensors be again what they were."""
        for name, tensor in self.tensors.items():
            if not self._untouched(name):
                tensor.copy_(kept[name])

    def doubtful(self, kept: dict[str, Tensor]) -> list[str]:
        """What a step that has failed may have been unable to do for all rows alike.

        Of what steps update that is what it has not come to update, otherwise all of it; if there is none, it may be anything.

        Args:
            kept: what the tensors were before.
        """
        left = [name for name in self.tensors if name in self.updated and torch.equal(self.tensors[name], kept[name])]
        return left or list(self.updated or self.tensors)

    def drop(self, name: str) -> Tensor:
        """Gives a tensor up, which is to have rows."""
        self.updated.discard(name)
        del self._handed[name], self._seen[name]
        self.changes += 1
        return self.tensors.pop(name)

    def _note(self, name: str) -> None:
        """Notes that steps update a tensor. What they write to is not to be anybody else's, nor to move."""
        if name not in self.updated:
            self.updated.add(name)
            self.tensors[name] = self.tensors[name].clone()
            self.changes += 1

    def _hand_out(self, name: str) -> None:
        """Gives all models copies of a tensor."""
        tensor = self.tensors[name]
        # Kernels of a GPU may read as if they wrote, for which a lazy copy moves, and a recorded step takes what stays.
        stays = name in self.updated or tensor.device.type != "cpu"
        copy = lazy_copy(tensor.clone() if stays else tensor)
        if not stays and address(copy) != address(tensor):
            # In memory of which there is no lazy copy.
            self.tensors[name] = tensor = copy
            copy = lazy_copy(tensor)
        for each in self.own(name):
            each.data = lazy_copy(copy)
        self._handed[name] = copy
        self._seen[name] = _state(tensor)

    def _untouched(self, name: str) -> bool:
        """Whether no step has written to a tensor since it was handed out."""
        return name not in self.updated and _state(self.tensors[name]) == self._seen[name]

    def _moved(self, name: str, tensor: Tensor) -> bool:
        """Whether a tensor is no longer in the memory that was handed out."""
        return address(tensor) != address(self._handed[name])


def _state(tensor: Tensor) -> tuple[int, int]:
    return address(tensor), tensor._version


def _places(model: nn.Module) -> dict[str, tuple[dict[str, Any], str]]:
    """What holds each of a model's tensors, and by which key."""
    return {
        f"{path}.{key}" if path else key: (kept, key)
        for path, part in model.named_modules()
        for kept in (part._parameters, part._buffers)
        for key, tensor in kept.items()
        if tensor is not None
    }
