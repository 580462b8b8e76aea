"""The weights of each trial's best epoch, in a stack of their own: one copy for all trials that are better than before.

What the trials have in common is kept as it is, without a copy for each.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lightning_hp.fit.copies import place
from lightning_hp.fit.fused.stack import Stack

# By the keys of a model's state, the names in the stack.
Names = dict[str, str]


class BestWeights:
    """Keeps weights until they are written, or until there are better ones.

    Args:
        trials: the numbers of all there may be.
    """

    def __init__(self, trials: Sequence[int]) -> None:
        self._rows = {trial: row for row, trial in enumerate(trials)}
        self._kept: dict[str, Tensor] = {}
        self._common: dict[int, dict[str, Tensor]] = {}
        self._names: dict[int, Names | None] = {}
        # Of models whose state is not only what the stack has.
        self._states: dict[int, dict[str, Any]] = {}

    def keep(self, stack: Stack, trials: Mapping[int, int]) -> None:
        """Copies what trials weigh now.

        Args:
            stack: the models' tensors.
            trials: their numbers, by the models' rows.
        """
        stacked = {**stack.parameters, **stack.buffers}
        common = stack.shared.kept()
        for row, trial in trials.items():
            model = stack.models[row]
            self._common[trial] = common
            if trial not in self._names:
                self._names[trial] = _names(model, stack.of(row))
            if self._names[trial] is None:
                state = model.state_dict()
                self._states[trial] = OrderedDict((key, _copied(value)) for key, value in state.items())

        @cache
        def indices(device: torch.device) -> tuple[Tensor, Tensor]:
            places = [self._rows[trial] for trial in trials.values()]
            return torch.tensor(places, device=device), torch.tensor(list(trials), device=device)

        names = {name for trial in trials.values() for name in (self._names[trial] or {}).values()}
        for name in names - common.keys():
            tensor = stacked[name].detach()
            if name not in self._kept:
                self._kept[name] = tensor.new_empty(len(self._rows), *tensor.shape[1:])
            places, rows = indices(tensor.device)
            self._kept[name][places] = tensor[rows]

    def of(self, trial: int) -> dict[str, Any]:
        """A trial's state as it was kept last, its tensors as rows."""
        names, row = self._names[trial], self._rows[trial]
        if names is None:
            return self._states[trial]
        common = self._common[trial]
        return OrderedDict((key, common[name] if name in common else self._kept[name][row]) for key, name in names.items())


def _names(model: nn.Module, tensors: Mapping[str, Tensor]) -> Names | None:
    """Which tensors a model's state is made of; None if there is anything else in it."""
    places = {place(tensor): name for name, tensor in tensors.items()}
    state = model.state_dict()
    names = {key: places.get(place(value)) for key, value in state.items() if isinstance(value, Tensor)}
    found = {key: name for key, name in names.items() if name is not None}
    return found if len(found) == len(state) else None


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
