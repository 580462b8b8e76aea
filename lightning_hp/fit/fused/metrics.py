"""The torchmetrics objects of a fused job's models: their states stacked while steps run, and given back for all else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

# By the metric's path in the module, then by the name of the state.
States: TypeAlias = dict[str, dict[str, Tensor]]


class MetricStates:
    """States of the metrics of all rows.

    Args:
        models: one per row.
        template: the module that runs the steps.
    """

    def __init__(self, models: Sequence[nn.Module], template: nn.Module) -> None:
        self.models = list(models)
        self.states: States = {}
        self.values: dict[str, Tensor] = {}
        self._template = metrics(template)
        self.counts: dict[str, int] = {}
        for metric in self._template.values():
            # Checks look at the values; the first batch is checked in the ordinary step.
            if hasattr(metric, "validate_args"):
                metric.validate_args = False
        for part in template.modules():
            if isinstance(part, MetricCollection):
                part._enable_compute_groups = False
        self.gather()

    @property
    def any(self) -> bool:
        """Whether the models have metrics at all."""
        return bool(self._template)

    def gather(self) -> None:
        """Stacks the states that the models' metrics have now."""
        if not self.any:
            return
        owns = [metrics(model) for model in self.models]
        self.counts = {path: metric._update_count for path, metric in owns[0].items()}
        self.values = {}
        for path in self._template:
            self.states[path] = {
                name: torch.stack([getattr(own[path], name) for own in owns]) for name in owns[0][path]._defaults
            }

    def scatter(self) -> None:
        """Gives each model's metrics their row."""
        for row, model in enumerate(self.models if self.any else ()):
            for path, metric in metrics(model).items():
                for name, tensor in self.states[path].items():
                    setattr(metric, name, tensor[row].clone())
                metric._computed = None
                metric._update_count = self.counts[path]
                if path in self.values:
                    metric._forward_cache = self.values[path][row]  # type: ignore[assignment]

    @contextmanager
    def lent(self, states: States) -> Iterator[dict[str, Any]]:
        """Has the template's metrics work on these states; what comes of it is in the given dict afterwards."""
        after: dict[str, Any] = {}
        for path, metric in self._template.items():
            metric._update_count, metric._computed, metric._forward_cache = self.counts[path], None, None
            for name, tensor in states[path].items():
                setattr(metric, name, tensor)
        try:
            yield after
            for path, metric in self._template.items():
                after[path] = {name: getattr(metric, name) for name in metric._defaults}, metric._forward_cache
                self.counts[path] = metric._update_count
        finally:
            for metric in self._template.values():
                for name, default in metric._defaults.items():
                    setattr(metric, name, default.clone())  # type: ignore[union-attr]
                metric._forward_cache = metric._computed = None

    def take(self, after: dict[str, Any]) -> None:
        """Takes what a step has made of the states."""
        for path, (states, _) in after.items():
            self.states[path] = states
        self.values = {path: value for path, (_, value) in after.items() if isinstance(value, Tensor)}


def metrics(module: nn.Module) -> dict[str, Metric]:
    """All metrics in a module, by path."""
    return {path: part for path, part in module.named_modules() if isinstance(part, Metric)}


def obstacle(module: nn.Module) -> str | None:
    """What keeps a module's metrics from being stacked; None if nothing does."""
    for path, metric in metrics(module).items():
        if any(isinstance(default, list) for default in metric._defaults.values()):
            return f"the metric {path} keeps a list of all batches"
    return None
