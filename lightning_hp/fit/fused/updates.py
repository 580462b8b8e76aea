"""The update of all parameters of a fused optimizer: one after another, or where the device can, as one replayed graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_hp.fit.fused.coefficients import Coefficients
from lightning_hp.fit.fused.graphs import GRAPHS, Graph
from lightning_hp.fit.fused.rules import BEGUN, State, Values

# Ways in which an update may come; more are forgotten. There are as many as kinds of batches whose steps are recorded.
MOST = 16


@dataclass
class Update:
    """What there is to do to a parameter.

    Attributes:
        parameter: of all rows.
        gradient: of that.
        state: what the optimizer keeps for it.
        coefficients: of its group.
    """

    parameter: Tensor
    gradient: Tensor
    state: State
    coefficients: Coefficients

    @property
    def tensors(self) -> list[Tensor]:
        return [self.parameter, self.gradient, *self.state.values()]


@dataclass
class _Recording:
    graph: Graph
    tables: list[Tensor | None]


class Updates:
    """Does updates by a rule.

    Args:
        update: the rule's, see `Rule`.
    """

    def __init__(self, update: Callable[[Tensor, Tensor, State, Values], None]) -> None:
        self._update = update
        self._recordings: dict[Any, _Recording | None] = {}
        self._refused = False

    def __call__(self, updates: Sequence[Update]) -> None:
        """Does all of them."""
        if not self._replayed(updates):
            for each in updates:
                self.one(each)

    def one(self, update: Update) -> None:
        """Does one."""
        split = update.coefficients.least
        values = split.shaped(split.sent(update.parameter), update.parameter)
        self._update(update.parameter, update.gradient, update.state, values)

    def forget(self) -> None:
        """Gives up what has been recorded."""
        self._recordings = {}

    def _replayed(self, updates: Sequence[Update]) -> bool:
        """Does them by a recording, if they come as before: in the same places, and with coefficients of the same make-up."""
        kinds = {(each.parameter.device, each.parameter.dtype) for each in updates}
        if (
            self._refused
            or len(kinds) != 1
            or next(iter(kinds))[0].type not in GRAPHS
            or any(BEGUN in each.state for each in updates)
        ):
            return False
        sets = list({id(each.coefficients): each.coefficients for each in updates}.values())
        numbers = {id(each): number for number, each in enumerate(sets)}
        places = tuple((numbers[id(each.coefficients)], *(each.data_ptr() for each in each.tensors)) for each in updates)
        key = places, tuple((each.most.names, tuple(each.most.plain.items())) for each in sets)
        if key not in self._recordings:
            if len(self._recordings) >= MOST:
                self.forget()
            # The first may make states.
            self._recordings[key] = None
            return False
        tables = [each.most.sent(updates[0].parameter) for each in sets]
        recording = self._recordings[key]
        if recording is None:
            try:
                recording = self._recordings[key] = self._recorded(updates, tables, numbers)
            except Exception:
                self._refused = True
                return False
        for own, new in zip(recording.tables, tables, strict=True):
            if own is not None and new is not None:
                own.copy_(new)
        recording.graph.replay()
        return True

    def _recorded(self, updates: Sequence[Update], tables: Sequence[Tensor | None], numbers: Mapping[int, int]) -> _Recording:
        own = [None if table is None else table.clone() for table in tables]

        def run() -> None:
            for each in updates:
                values = each.coefficients.most.shaped(own[numbers[id(each.coefficients)]], each.parameter)
                state = dict(each.state)
                self._update(each.parameter, each.gradient, state, values)
                for name, tensor in each.state.items():
                    # A replay writes where it is read.
                    if state[name] is not tensor:
                        tensor.copy_(state[name])

        graph = GRAPHS[updates[0].parameter.device.type](None)
        graph.record(run)
        return _Recording(graph, own)
