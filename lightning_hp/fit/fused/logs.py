"""What the steps of a fused fit log, kept for all rows at once until the epoch ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultCollection, _Sync
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor

from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.step_output import Logged

_REDUCTIONS = {"mean": "mean", "avg": "mean", "sum": "sum", "min": "min", "max": "max"}
_REDUCTIONS_BY_FUNCTION = {
    torch.mean: "mean",
    torch.sum: "sum",
    torch.min: "min",
    torch.max: "max",
    sum: "sum",
    min: "min",
    max: "max",
}
# Arguments of log that say what becomes of the value of an epoch.
_OF_EPOCH = ("prog_bar", "logger", "reduce_fx", "add_dataloader_idx")


@dataclass
class Entry:
    """One name that the steps of an epoch log.

    Attributes:
        name: as the user gave it.
        options: as the user gave them.
        on_step, on_epoch: what is logged, by Lightning's rules.
        dataloader_idx: of several validation loaders, which one; otherwise None.
        metric: the path of the metric object that is logged itself, or None.
        last: the values of the last step; None of a metric that gave none.
        settled: of a metric object, by row, what it had come to at the end of the validation loader.
    """

    name: str
    options: Mapping[str, Any]
    on_step: bool
    on_epoch: bool
    dataloader_idx: int | None
    metric: str | None
    reduction: str = "mean"
    last: Tensor | None = None
    settled: dict[int, Any] = field(default_factory=dict)
    total: Tensor | None = None
    weight: float = 0.0
    _numbers: list[float] | None = None
    _reduced: tuple[Tensor, ...] = ()
    _meta: _Metadata | None = None

    @property
    def shown_name(self) -> str:
        """The name, with the loader's number where there are several."""
        return self.name if self.dataloader_idx is None else f"{self.name}/dataloader_idx_{self.dataloader_idx}"

    @property
    def step_name(self) -> str:
        """The name of a step's value."""
        loader = self.shown_name.removeprefix(self.name)
        return f"{self.name}_step{loader}" if self.on_epoch else self.shown_name

    @property
    def stepped(self) -> bool:
        """Whether the last step has a value to be logged."""
        return self.on_step and self.last is not None

    def numbers(self) -> list[float]:
        """The values of the last step as plain numbers, which waits for the device once for all rows."""
        assert self.last is not None
        if self._numbers is None:
            self._numbers = self.last.tolist()
        return self._numbers

    def reduced(self, row: int) -> Tensor:
        """A row's value of the epoch."""
        if not self._reduced:
            assert self.total is not None
            self.take(self.total / self.weight if self.reduction == "mean" else self.total)
        return self._reduced[row]

    def take(self, values: Tensor) -> None:
        """Takes the values of the epoch."""
        # Those who read them want numbers: the device is waited for once for all rows.
        self._reduced = values.cpu().unbind()

    def replay(self, fx: str, row: int, model: LightningModule, results: _ResultCollection) -> None:
        """Puts a row's value of the epoch into a trial's results, as its model's ``log`` would in a hook of that name."""
        loader = "" if self.dataloader_idx is None else f".{self.dataloader_idx}"
        if self._meta is None:
            # The same for all rows.
            self._meta = self._metadata(fx + loader)
        key = f"{fx}.{self.name}{loader}"
        if self.metric is None or self._reduced:
            results[key] = EpochValue(self._meta, self.reduced(row))
        else:
            results[key] = EpochMetric(self._meta, model, self.metric, self.settled.get(row))

    def settle(self, row: int, model: LightningModule) -> None:
        """Takes what a row's metric object has come to."""
        assert self.metric is not None
        metric: Any = model.get_submodule(self.metric)
        self.settled[row] = metric.compute()

    def _metadata(self, fx: str) -> _Metadata:
        options = {key: value for key, value in self.options.items() if key in _OF_EPOCH and value is not None}
        index = self.dataloader_idx
        meta = _Metadata(fx, self.name, on_step=self.on_step, on_epoch=self.on_epoch, dataloader_idx=index, **options)
        meta.sync = _Sync()
        return meta

    def show(self, values: Tensor | None) -> None:
        """Takes the values of one step that are not reduced here."""
        self.last, self._numbers, self._reduced = values, None, ()

    def keep(self, rows: list[int]) -> None:
        """Leaves only these rows."""
        self.show(self.last[rows] if self.last is not None else None)
        self.total = self.total[rows] if self.total is not None else None
        self.settled = {new: self.settled[old] for new, old in enumerate(rows) if old in self.settled}

    def add(self, values: Tensor, batch_size: int) -> None:
        """Takes the values of one step."""
        values = values.float() if not values.is_floating_point() or values.element_size() < 4 else values
        self.show(values)
        if self.reduction == "mean":
            values, self.weight = values * batch_size, self.weight + batch_size
        if self.total is None:
            self.total = values
        elif self.reduction in ("mean", "sum"):
            self.total = self.total + values
        else:
            self.total = torch.minimum(self.total, values) if self.reduction == "min" else torch.maximum(self.total, values)


@dataclass
class EpochValue:
    """Stands in a trial's results for what its steps have logged, which is reduced already.

    Lightning's own kind, which ``self.log`` makes, reduces values as they come: for each trial and name that takes as long as
    some steps of a small network.
    """

    meta: _Metadata
    _computed: Tensor
    is_tensor: bool = True
    has_reset: bool = False

    @property
    def _forward_cache(self) -> Tensor:
        return self._computed

    def reset(self) -> None:
        self.has_reset = True


class EpochMetric:
    """The same for a metric object, which has seen what the steps have logged: it is asked when somebody looks.

    Lightning's own kind is a metric by itself, and goes through all that it holds, to bring it where it is already.
    """

    is_tensor = False
    has_reset = False

    def __init__(self, meta: _Metadata, model: LightningModule, path: str, computed: Any = None) -> None:
        self.meta = meta
        self._metric: Any = model.get_submodule(path)
        self._forward_cache = self._metric._forward_cache
        self._computed = computed

    def compute(self) -> None:
        self._computed = self._metric.compute()

    def reset(self) -> None:
        self._metric.reset()
        self.has_reset = True


class EpochLogs:
    """The entries of the steps of one kind, such as ``training_step``, since the epoch began.

    Args:
        training: whether values are logged by step unless the user says otherwise; if not, by epoch.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self._entries: dict[tuple[str, int | None], Entry] = {}

    @property
    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def add(self, logged: list[Logged], batch: Any, forwards: Mapping[str, Tensor], dataloader_idx: int | None = None) -> None:
        """Takes what a step has logged; of metric objects what their ``forward`` gave, by path."""
        for each in logged:
            index = dataloader_idx if each.options.get("add_dataloader_idx", True) else None
            entry = self._entries.get((each.name, index))
            if entry is None:
                entry = self._entries[each.name, index] = self._entry(each, index)
            if isinstance(each.values, Tensor):
                size = each.options.get("batch_size")
                needs_size = size is None and entry.on_epoch and entry.reduction == "mean"
                entry.add(each.values, extract_batch_size(batch) if needs_size else size or 1)
            elif isinstance(each.values, str):
                entry.show(forwards.get(each.values))

    def unsettled(self, dataloader_idx: int) -> list[Entry]:
        """The metric objects that the loaders before that one have logged, and that have not settled yet."""
        earlier = [entry for entry in self._entries.values() if entry.dataloader_idx in range(dataloader_idx)]
        return [entry for entry in earlier if entry.metric is not None and entry.on_epoch and not entry.settled]

    def keep(self, rows: list[int]) -> None:
        """Leaves only these rows."""
        for entry in self._entries.values():
            entry.keep(rows)

    def clear(self) -> None:
        self._entries.clear()

    def _entry(self, logged: Logged, dataloader_idx: int | None) -> Entry:
        if "/dataloader_idx_" in logged.name:
            # By itself, a trial fails with Lightning's own words for it.
            raise CannotFuseError(f"{logged.name!r} names a loader, which Lightning does itself")
        options = dict(logged.options)
        on_step, on_epoch = options.pop("on_step", None), options.pop("on_epoch", None)
        on_step = self.training if on_step is None else on_step
        on_epoch = not self.training if on_epoch is None else on_epoch
        options.pop("batch_size", None)
        reduce = options.get("reduce_fx", "mean")
        reduction = _REDUCTIONS[reduce.lower()] if isinstance(reduce, str) else _REDUCTIONS_BY_FUNCTION[reduce]
        metric = logged.values if isinstance(logged.values, str) else None
        return Entry(logged.name, options, on_step, on_epoch, dataloader_idx, metric, reduction)
