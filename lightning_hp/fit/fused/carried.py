"""What differs between the models of a fused job besides their parameters: numbers that a step may read.

A loss weight, a dropout probability or a label smoothing is a plain number in a module, in its ``hparams`` or in a list; in a
fused step it is a tensor with one value per row, which ``isinstance`` takes for the number. What differs and is no number keeps
the models apart if the step reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_hp.bounds import is_number
from lightning_hp.fit.fused.apart import unread
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.numbers import Number, kind_of
from lightning_hp.fit.fused.state import MISSING, SIZE, Path, changes, get, holder, kept, put, readable, same, state


class Carried:
    """The numbers in which models differ.

    Args:
        models: one per row.
        device: where the step runs.
        unseen: places of what a step would not see as it has become in each model, and what to say of it.

    Raises:
        CannotFuseError: parts of the models are of different classes.
    """

    def __init__(self, models: Sequence[nn.Module], device: torch.device, unseen: Mapping[Path, str] | None = None) -> None:
        self._device = device
        self.unseen = dict(unseen or {})
        self._values: dict[Path, Tensor] = {}
        self._kinds: dict[Path, type[Number] | None] = {}
        self._differing: dict[Path, str] = {}
        self._seen: dict[Path, Any] = {}
        self.read(models)

    def read(self, models: Sequence[nn.Module]) -> list[Path]:
        """Takes the models' current values, which their hooks may have changed.

        Returns:
            The attributes of which the first model has other values than when it was last looked at.

        Raises:
            CannotFuseError: parts of the models are of different classes.
        """
        states = [state(model) for model in models]
        self._values, self._differing = {}, dict(self.unseen)
        for path in {path: None for each in states for path in each}:
            values = [each.get(path, MISSING) for each in states]
            if all(same(value, values[0]) for value in values):
                continue
            if SIZE in path or not all(map(is_number, values)) or not _settable(models[0], path):
                other = next(value for value in values if not same(value, values[0]))
                self._differing[path] = f"{readable(path)} differs ({_short(values[0])}, {_short(other)})"
                if path[1:] == ("__class__",):
                    raise CannotFuseError(self._differing[path])
                continue
            whole = all(isinstance(value, int) for value in values)
            dtype = torch.int64 if whole else torch.get_default_dtype()
            self._values[path] = torch.tensor(values, dtype=dtype, device=self._device)
            self._kinds[path] = kind_of(values)
        seen, self._seen = self._seen, kept(states[0])
        return list({path[:2]: None for path in changes(seen, states[0])})

    def look(self, model: nn.Module) -> None:
        """Looks at the first model, so that `read` does not take what has changed by now for a change."""
        self._seen = kept(state(model))

    def changed(self, model: nn.Module) -> bool:
        """Whether the first model has other values than when it was last looked at."""
        return bool(changes(self._seen, state(model)))

    def keep(self, rows: Sequence[int]) -> None:
        """Leaves only these rows."""
        self._values = {path: values[list(rows)] for path, values in self._values.items()}

    def tensors(self) -> list[Tensor]:
        """One tensor per number, with one value per row."""
        return list(self._values.values())

    @property
    def paths(self) -> list[Path]:
        """Where the numbers are, in the order of `tensors`."""
        return list(self._values)

    @contextmanager
    def borrowed(self, numbers: Sequence[Tensor]) -> Iterator[None]:
        """Has others in the place of `tensors` for a while."""
        own = self._values
        self._values = dict(zip(own, numbers, strict=True))
        try:
            yield
        finally:
            self._values = own

    @contextmanager
    def lent(self, module: nn.Module, numbers: Sequence[Tensor]) -> Iterator[None]:
        """Puts numbers in the places of a module's own for the time of a step, which is not to read what else differs.

        Raises:
            CannotFuseError: it does.
        """
        places = [(holder(module, path), path[-1]) for path in self._values]
        own = [get(*place) for place in places]
        kinds = [self._kinds[path] for path in self._values]
        try:
            for place, number, kind in zip(places, numbers, kinds, strict=True):
                put(*place, number if kind is None else number.as_subclass(kind))
            with unread(module, self._differing):
                yield
        finally:
            for place, value in zip(places, own, strict=True):
                put(*place, value)


def _settable(module: nn.Module, path: Path) -> bool:
    return not isinstance(holder(module, path), tuple)


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
