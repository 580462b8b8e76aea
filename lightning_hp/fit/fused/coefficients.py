"""What the rows' hyperparameters come to at a step of a fused optimizer: the coefficients of its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from lightning_hp.fit.fused.rules import Rule, Steps, Value, Values
from lightning_hp.fit.fused.trees import per_row


class Split:
    """Coefficients, apart: those that are plain numbers, and a table of the others.

    Args:
        plain: what all rows have in common.
        rest: the others, one value per row.
    """

    def __init__(self, plain: Mapping[str, Any], rest: Mapping[str, NDArray[np.float64]]) -> None:
        self.plain = dict(plain)
        self.names = tuple(rest)
        self.table = torch.from_numpy(np.stack(list(rest.values()))) if rest else None
        self._sent: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def sent(self, parameter: Tensor) -> Tensor | None:
        """The table where a parameter is, in the precision that is for it."""
        if self.table is None:
            return None
        # Half precision is for the parameters; torch's own optimizers have their numbers in more.
        key = parameter.device, torch.promote_types(parameter.dtype, torch.float32)
        if key not in self._sent:
            self._sent[key] = self.table.to(*key)
        return self._sent[key]

    def shaped(self, table: Tensor | None, parameter: Tensor) -> Values:
        """All of them, in the form of a parameter's rows."""
        if table is None:
            return self.plain
        return {**self.plain, **{name: per_row(row, parameter) for name, row in zip(self.names, table, strict=True)}}


class Coefficients:
    """The coefficients of one parameter group at one step.

    Args:
        values: as the rule has worked them out.
        rows: how many there are.
    """

    def __init__(self, values: Values, rows: int) -> None:
        self._values = {name: np.asarray(value) for name, value in values.items()}
        self._rows = rows

    @cached_property
    def least(self) -> Split:
        """As few tensors as there can be. Rows that differ in one number may have what follows from it in common."""
        return self._split({name for name, array in self._values.items() if _alike(array)})

    @cached_property
    def most(self) -> Split:
        """Tensors of all that may change without the rule doing something else: all but switches, zeros and ones."""
        return self._split({name for name, array in self._values.items() if _alike(array) and array.flat[0] in (0, 1)})

    def _split(self, plain: set[str]) -> Split:
        rest = {name: array.astype(np.float64) for name, array in self._values.items() if name not in plain}
        return Split(
            {name: self._values[name].flat[0].item() for name in self._values if name in plain},
            {name: np.broadcast_to(array, self._rows) for name, array in rest.items()},
        )


class Hyperparameters:
    """Follows the hyperparameters of the rows' optimizers, which schedulers and hooks change.

    Args:
        rule: of the optimizers.
        optimizers: one per row.
    """

    def __init__(self, rule: Rule, optimizers: Sequence[Optimizer]) -> None:
        self._rule = rule
        self._optimizers = list(optimizers)
        # Not what schedulers and users keep beside them.
        self._names = optimizers[0].defaults.keys() - _WAYS
        self._seen: dict[int, dict[str, list[Any]]] = {}
        self._values: dict[int, Values] = {}
        self._made: dict[Any, Coefficients] = {}

    def read(self) -> None:
        """Looks at them, once a step."""
        if self._rule.counts:
            self._made = {}
        for number, first in enumerate(self._optimizers[0].param_groups):
            groups = [optimizer.param_groups[number] for optimizer in self._optimizers]
            now = {name: [group[name] for group in groups] for name in first if name in self._names}
            # A tensor may have changed in place.
            if any(isinstance(own[0], Tensor) for own in now.values()) or now != self._seen.get(number):
                self._seen[number] = now
                self._values[number] = {name: joined(own) for name, own in now.items()}
                self._made = {}

    def at(self, group: int, step: Steps) -> Coefficients:
        """The coefficients of a parameter group.

        Args:
            group: its number.
            step: the number of the rows' step, from 1.
        """
        key = group, (step if isinstance(step, int) else step.tobytes()) if self._rule.counts else None
        if key not in self._made:
            values = self._rule.coefficients(self._values[group], step)
            self._made[key] = Coefficients(values, len(self._optimizers))
        return self._made[key]


# How torch is to go about it.
_WAYS = frozenset({"foreach", "fused", "capturable", "differentiable"})


def joined(values: list[Any]) -> Value:
    """The values of all rows as one: a number where they are the same, otherwise an array."""
    if isinstance(values[0], (tuple, list)):
        return tuple(joined(list(each)) for each in zip(*values, strict=True))
    if any(isinstance(value, Tensor) for value in values):
        values = [float(value) for value in values]
    if all(value == values[0] for value in values):
        return values[0]
    return np.array(values, np.float64)


def _alike(array: NDArray[Any]) -> bool:
    return array.ndim == 0 or bool((array == array[0]).all())
