"""Whether a fused step does what the ordinary steps do, for each trial, and whether it is worth it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lightning_hp.fit.fused.carried import readable, same, state
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.step import FusedStep, StepOutput, loss_of, step_log
from lightning_hp.fit.rng import isolated_rngs, rng_states

# Largest difference that is rounding: relative, and absolute in units of the largest value.
TOLERANCE = 1e-3


def check(step: FusedStep, args: tuple[Any, ...]) -> None:
    """Compares losses, logged values and gradients of a training step with those of each model's own step on the same batch.

    Random numbers, as of dropout, differ: a model that draws some is compared in evaluation mode.

    Args:
        step: the fused step. What the steps change is changed back.
        args: of the training step.

    Raises:
        CannotFuseError: they differ, or the step changes a model in a way that only its own step can.
    """
    models: list[LightningModule] = step.stack.models  # type: ignore[assignment]
    with isolated_rngs(), _undone(step):
        before = rng_states()["torch"]
        own = [_ordinary(model, args) for model in models]
        if not torch.equal(before, rng_states()["torch"]):
            for model in (*models, step.template):
                model.eval()
            own = [_ordinary(model, args) for model in models]
        fused = step("training_step", *args)
        _compare_values(own, fused)
        _compare_gradients(step, models, own, fused)


def seconds(step: FusedStep, args: tuple[Any, ...]) -> tuple[float, float]:
    """The time that a training step takes for all rows: fused, and one after another."""
    models: list[LightningModule] = step.stack.models  # type: ignore[assignment]
    with isolated_rngs(), _undone(step):

        def fused() -> None:
            loss_of(step("training_step", *args)).sum().backward()  # type: ignore[no-untyped-call]

        def ordinary() -> None:
            loss_of(_ordinary(models[0], args)).backward()  # type: ignore[no-untyped-call]

        return _fastest(fused), _fastest(ordinary) * len(models)


def _ordinary(model: LightningModule, args: tuple[Any, ...]) -> StepOutput:
    """A model's own training step."""
    before = state(model)
    with step_log(model) as output:
        output.output = model.training_step(*args)
    after = state(model)
    changed = [path for path in before.keys() | after.keys() if not same(before.get(path), after.get(path))]
    if changed:
        raise CannotFuseError(f"training_step changes {readable(min(changed, key=str))} of the module")
    return output


def _fastest(run: Callable[[], None]) -> float:
    times = []
    for _ in range(3):
        _wait()
        began = time.perf_counter()
        run()
        _wait()
        times.append(time.perf_counter() - began)
    return min(times)


def _wait() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _compare_values(own: Sequence[StepOutput], fused: StepOutput) -> None:
    _compare("the loss", torch.stack([loss_of(each).detach() for each in own]), loss_of(fused).detach())
    for index, logged in enumerate(fused.logged):
        if isinstance(logged.values, Tensor):
            values = [each.logged[index].values for each in own]
            _compare(f"the logged {logged.name}", torch.stack(values), logged.values)  # type: ignore[arg-type]


def _compare_gradients(
    step: FusedStep, models: Sequence[LightningModule], own: Sequence[StepOutput], fused: StepOutput
) -> None:
    names = [name for name, tensor in step.stack.parameters.items() if tensor.requires_grad]
    together = torch.autograd.grad(loss_of(fused).sum(), [step.stack.parameters[name] for name in names], allow_unused=True)
    for row, (model, output) in enumerate(zip(models, own, strict=True)):
        parameters = [model.get_parameter(name) for name in names]
        alone = torch.autograd.grad(loss_of(output), parameters, allow_unused=True)
        # Where the true gradient is zero, as before a normalization, both are noise.
        scale = max(_scale(gradient) for gradient in alone if gradient is not None)
        for name, one, rows in zip(names, alone, together, strict=True):
            if (one is None) != (rows is None):
                raise CannotFuseError(f"the fused step and the ordinary one do not both use {name}")
            if one is not None and rows is not None:
                _compare(f"the gradient of {name}", one, rows[row], scale)


def _compare(what: str, own: Tensor, fused: Tensor, scale: float | None = None) -> None:
    scale = _scale(own) if scale is None else scale
    if not torch.allclose(fused, own, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True):
        raise CannotFuseError(f"{what} differs from the ordinary step's by {float((fused - own).abs().max()):.2g}")


def _scale(values: Tensor) -> float:
    # A loss that is not finite is so in both.
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if len(finite) else 0.0


@contextmanager
def _undone(step: FusedStep) -> Iterator[None]:
    buffers = {name: tensor.clone() for name, tensor in step.stack.buffers.items()}
    gradients = {name: tensor.grad for name, tensor in step.stack.parameters.items()}
    states, values = {path: dict(each) for path, each in step.metrics.states.items()}, dict(step.metrics.values)
    counts = dict(step.metrics.counts)
    modes = [[part.training for part in model.modules()] for model in (*step.stack.models, step.template)]
    try:
        yield
    finally:
        # A step may have made a model's buffer anew.
        step.stack.follow()
        for name, tensor in buffers.items():
            step.stack.buffers[name].copy_(tensor)
        for name, gradient in gradients.items():
            step.stack.parameters[name].grad = gradient
        for model, mode in zip((*step.stack.models, step.template), modes, strict=True):
            for part, training in zip(model.modules(), mode, strict=True):
                part.training = training
            for parameter in model.parameters():
                parameter.grad = None
        step.metrics.states, step.metrics.values, step.metrics.counts = states, values, counts
        step.metrics.scatter()
