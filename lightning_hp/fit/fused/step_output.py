"""What a step gives: its return value, and what it logs while it runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.lists import Added
from lightning_hp.fit.fused.metrics import Pending, metrics


@dataclass(frozen=True)
class Logged:
    """What one call of ``self.log`` in a step has logged.

    Attributes:
        name: as the user gave it.
        values: one per row; or the path of a metric that was logged itself; within the step, one that is to come.
        options: the other arguments of ``log``.
    """

    name: str
    values: Tensor | str | Pending
    options: Mapping[str, Any]


@dataclass
class StepOutput:
    """What a step has given for all rows.

    Attributes:
        output: the step's return value, its tensors with a first axis for the rows.
        logged: in the order of the calls.
        added: to lists that the module keeps.
    """

    output: Any
    logged: list[Logged] = field(default_factory=list)
    added: Added = field(default_factory=dict)


def metric_paths(module: nn.Module) -> dict[int, str]:
    """Where a module's metrics are, by their ids."""
    return {id(metric): path for path, metric in metrics(module).items()}


@contextmanager
def step_log(module: LightningModule, paths: Mapping[int, str]) -> Iterator[StepOutput]:
    """Takes down what a module logs while a step runs.

    Args:
        module: which runs it.
        paths: of its metrics, see `metric_paths`.
    """
    output = StepOutput(None)

    def log(name: str, value: Any, prog_bar: bool = False, *args: Any, **options: Any) -> None:
        options |= dict(zip(_LOG_ARGUMENTS, args, strict=False))
        if isinstance(value, Metric):
            values: Any = paths[id(value)]
        elif isinstance(value, Pending):
            values = value
        else:
            values = (value if isinstance(value, Tensor) else torch.tensor(float(value))).detach()
            if values.numel() != 1:
                raise ValueError(f"{name!r} is logged with {values.numel()} values")
            values = values.squeeze()
        output.logged.append(Logged(name, values, {"prog_bar": prog_bar, **options}))

    module.log = log  # type: ignore[method-assign]
    try:
        yield output
    finally:
        del module.log


# The arguments of log after prog_bar, by place.
_LOG_ARGUMENTS = tuple(inspect.signature(LightningModule.log).parameters)[4:]


def loss_of(output: StepOutput) -> Tensor:
    """The loss in what a training step has returned.

    Raises:
        CannotFuseError: there is none, which tells Lightning to skip the batch.
    """
    loss = output.output["loss"] if isinstance(output.output, Mapping) else output.output
    if not isinstance(loss, Tensor):
        raise CannotFuseError("training_step returned no loss")
    return loss
