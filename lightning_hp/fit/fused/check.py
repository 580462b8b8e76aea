"""Whether a fused step does what the ordinary steps do, for each trial, and whether it is worth it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.lists import Added, Growth, rows
from lightning_hp.fit.fused.metrics import metrics
from lightning_hp.fit.fused.state import MISSING, Path, changes, find, kept, leaves, readable, same, state
from lightning_hp.fit.fused.step import FusedStep
from lightning_hp.fit.fused.step_output import Logged, StepOutput, loss_of, metric_paths, step_log
from lightning_hp.fit.fused.tf32 import without_tf32
from lightning_hp.fit.fused.trees import per_row, put_together, taken_apart, unshared
from lightning_hp.fit.rng import isolated_rngs, rng_states, set_rng_states

# Largest difference that is rounding: relative, and absolute in units of the largest value.
TOLERANCE = 1e-3


def check(step: FusedStep, name: str, args: tuple[Any, ...]) -> None:
    """Compares what a step returns, logs and adds to lists, its metrics and gradients with each model's own on the same batch.

    In single precision, also where half is asked for, so that a difference is no rounding.

    Args:
        step: the fused step. What the steps change is changed back.
        name: ``training_step`` or ``validation_step``.
        args: of that.

    Raises:
        CannotFuseError: they differ, or the step changes a model in a way that only its own step can.
    """
    models: list[LightningModule] = step.stack.models  # type: ignore[assignment]
    with isolated_rngs(), undone(step), torch.autocast(models[0].device.type, enabled=False), without_tf32():
        # For this once, random numbers are the same for all rows, and so the same as in each model's own step.
        step.randomness = "same"
        states = rng_states()
        try:
            with undone(step):
                _compare_steps(step, name, args)
        except CannotFuseError:
            if not _drawn_since(states):
                raise
            # Unless they are drawn in another way, as where dropout has a probability for each row: then without dropout.
            for model in (*models, step.template):
                model.eval()
            _compare_steps(step, name, args)


def seconds(step: FusedStep, args: tuple[Any, ...], replay: Callable[[], StepOutput | None]) -> tuple[float, float]:
    """The time that a training step takes for all rows: fused, and one after another.

    Args:
        step: the fused step. What it changes is changed back.
        args: of that.
        replay: gives what a recording of it gives, and its gradients; None where there is none.
    """
    models: list[LightningModule] = step.stack.models  # type: ignore[assignment]
    paths, lists = metric_paths(models[0]), Growth(models[0])
    with isolated_rngs(), undone(step, rows=1):

        def fused() -> None:
            if replay() is None:
                torch.autograd.backward(loss_of(step("training_step", *args)).sum())

        def ordinary() -> None:
            with lists.taken(), step_log(models[0], paths) as output:
                output.output = models[0].training_step(unshared(args[0]), *args[1:])
            torch.autograd.backward(loss_of(output))

        return _fastest(fused), _fastest(ordinary) * len(models)


def _compare_steps(step: FusedStep, name: str, args: tuple[Any, ...]) -> None:
    states = rng_states()
    own = []
    with undone(step):
        for row, model in enumerate(step.stack.models):
            set_rng_states(states)
            # What the others have otherwise than the first are numbers, by which no step changes its module.
            output = (_ordinary if row else _unchanging)(model, name, args)  # type: ignore[arg-type]
            of_metrics = {path: {key: getattr(each, key) for key in each._defaults} for path, each in metrics(model).items()}
            own.append(_result(name, output, dict(model.named_parameters()), of_metrics))
    set_rng_states(states)
    output = step(name, *args)
    fused = _result(name, output, step.stack.parameters, step.metrics.states)
    _compare_values(name, own, fused)
    _compare_added(name, step.stack.models, [each.added for each in own], fused.added)
    _compare_gradients(own, fused)


def _drawn_since(states: Mapping[str, Any]) -> bool:
    """Whether torch has drawn random numbers."""
    now = rng_states()
    pairs = zip((states["torch"], *states.get("cuda", ())), (now["torch"], *now.get("cuda", ())), strict=False)
    return not all(torch.equal(one, other) for one, other in pairs)


def _fastest(run: Callable[[], None]) -> float:
    times = []
    # A step that can be recorded is so at the second.
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


@dataclass
class _Result:
    """What a step has given: one model's, or all rows'."""

    returned: list[Tensor]
    logged: list[Logged]
    states: Mapping[str, Mapping[str, Any]]
    gradients: dict[str, Tensor | None]
    added: Added


def _result(
    name: str, output: StepOutput, parameters: Mapping[str, Tensor], states: Mapping[str, Mapping[str, Any]]
) -> _Result:
    gradients: dict[str, Tensor | None] = {}
    if name == "training_step":
        trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
        of_loss = torch.autograd.grad(loss_of(output).sum(), list(trained.values()), allow_unused=True)
        gradients = dict(zip(trained, of_loss, strict=True))
    returned = [tensor.detach() for tensor in taken_apart(output.output)[1] if tensor.is_floating_point()]
    return _Result(returned, output.logged, states, gradients, output.added)


def _ordinary(model: LightningModule, name: str, args: tuple[Any, ...]) -> StepOutput:
    """A model's own step."""
    with Growth(model).taken() as added, step_log(model, metric_paths(model)) as output:
        output.output = getattr(model, name)(unshared(args[0]), *args[1:])
    nest, tensors = taken_apart(added)
    output.added = put_together(nest, [tensor.detach() for tensor in tensors])
    return output


def _unchanging(model: LightningModule, name: str, args: tuple[Any, ...]) -> StepOutput:
    """A model's own step, which is not to change the model."""
    states = rng_states()
    changed: list[Path] = []
    for _ in range(2):
        set_rng_states(states)
        before = kept(state(model))
        output = _ordinary(model, name, args)
        changed = changes(before, state(model))
        if not changed:
            return output
        # The first step may have made what it keeps, such as a mask; then the next one changes nothing.
    raise CannotFuseError(f"{name} changes {readable(changed[0])} of the module")


def _compare_values(name: str, own: Sequence[_Result], fused: _Result) -> None:
    for index, returned in enumerate(fused.returned):
        _compare(f"what {name} returns", torch.stack([each.returned[index] for each in own]), returned)
    for index, logged in enumerate(fused.logged):
        if any(each.logged[index].name != logged.name for each in own):
            raise CannotFuseError(f"{name} logs by names that differ, such as {own[0].logged[index].name}")
        if isinstance(logged.values, Tensor):
            values = [each.logged[index].values for each in own]
            _compare(f"the logged {logged.name}", torch.stack(values), logged.values)  # type: ignore[arg-type]
    for path, states in fused.states.items():
        for key, values in states.items():
            _compare(f"the metric {path}", torch.stack([each.states[path][key] for each in own]), values)


def _compare_added(name: str, models: Sequence[nn.Module], own: Sequence[Added], fused: Added) -> None:
    for path in {path: None for each in (*own, fused) for path in each}:
        what = f"what {name} adds to {readable(path)}"
        lists = [find(model, path) for model in models]
        if MISSING not in lists and len({id(each) for each in lists}) < len(lists):
            raise CannotFuseError(f"{readable(path)} is one list for several trials")
        ours = [leaves(each.get(path, [])) for each in own]
        theirs = [leaves(each) for each in rows(fused.get(path, []), len(models))]
        for place in {place: None for each in (*ours, *theirs) for place in each}:
            pairs = [(one.get(place, MISSING), other.get(place, MISSING)) for one, other in zip(ours, theirs, strict=True)]
            if not all(_alike(*pair) for pair in pairs):
                raise CannotFuseError(f"{what} differs from what the ordinary step adds")
            if isinstance(pairs[0][0], Tensor) and pairs[0][0].is_floating_point():
                _compare(what, *map(torch.stack, zip(*pairs, strict=True)))


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are the same, or tensors of the same kind."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype
    return same(one, other)


def _compare_gradients(own: Sequence[_Result], fused: _Result) -> None:
    used = {name: all_rows for name, all_rows in fused.gradients.items() if all_rows is not None}
    for result in own:
        for name, gradient in result.gradients.items():
            if (gradient is None) == (name in used):
                raise CannotFuseError(f"the fused step and the ordinary one do not both use {name}")
    if not used:
        return
    # Where the true gradient is zero, as before a normalization, both are noise.
    scales = torch.stack([_scale(_stacked(own, name), dim=1).float() for name in used]).amax(0)
    for name, all_rows in used.items():
        _compare(f"the gradient of {name}", _stacked(own, name), all_rows, scales)


def _stacked(own: Sequence[_Result], name: str) -> Tensor:
    # Each time anew: of a large model there is no room for all twice.
    return torch.stack([result.gradients[name] for result in own])  # type: ignore[misc]


def _compare(what: str, own: Tensor, fused: Tensor, scale: Tensor | None = None) -> None:
    """Compares values of all rows; what is rounding goes by a scale of all, or of each row."""
    if not own.is_floating_point():
        own, fused = own.float(), fused.float()
    scale = _scale(own) if scale is None else per_row(scale, own)
    difference = (fused - own).abs()
    rounding = own.isfinite() & (difference <= TOLERANCE * (scale + own.abs()))
    if not (rounding | torch.isclose(fused, own, rtol=0, atol=0, equal_nan=True)).all():
        raise CannotFuseError(f"{what} differs from the ordinary step's by {float(difference.max()):.2g}")


def _scale(values: Tensor, dim: int = 0) -> Tensor:
    """The largest of the values' sizes, in all dimensions from one on."""
    # A loss that is not finite is so in both.
    sizes = torch.where(values.isfinite(), values.abs(), 0.0).unsqueeze(-1).flatten(dim)
    return sizes.amax(-1) if sizes.shape[-1] else sizes.new_zeros(sizes.shape[:-1])


@contextmanager
def undone(step: FusedStep, rows: int | None = None) -> Iterator[None]:
    """Changes back what steps change: the fused one, and the ordinary ones of so many models, from the first; None for all."""
    tensors = step.stack.snapshot()
    gradients = {name: tensor.grad for name, tensor in step.stack.parameters.items()}
    restore_metrics = step.metrics.snapshot()
    randomness = step.randomness
    models = (*step.stack.models[:rows], step.template)
    modes = [[(part, part.training) for part in model.modules()] for model in models]
    try:
        yield
    finally:
        step.stack.restore(tensors, rows)
        for name, gradient in gradients.items():
            step.stack.parameters[name].grad = gradient
        for model, mode in zip(models, modes, strict=True):
            for part, training in mode:
                if part.training is not training:
                    part.training = training
            for parameter in model.parameters():
                parameter.grad = None
        step.randomness = randomness
        restore_metrics()
