"""Whether a step may be recorded and replayed: whether it only computes with tensors, and does so alike for every batch.

A replay does on the device what the recorded step has done there, and runs no Python. So a step that reads the batch's number
or the epoch, draws random numbers on the host, prints or looks at the clock is run each time.
"""

from __future__ import annotations

import gc
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from cProfile import Profile
from types import BuiltinFunctionType, FrameType
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_mean

from lightning_hp.fit.fused.check import undone
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.state import same
from lightning_hp.fit.fused.step import FusedStep
from lightning_hp.fit.fused.step_output import StepOutput
from lightning_hp.fit.fused.trees import only_tensors, taken_apart
from lightning_hp.fit.rng import isolated_rngs, rng_states, seed_cpu_rngs, set_rng_states


class Unread:
    """Stands for an argument that a step takes and does not look at.

    Raises:
        ReadError: on whatever is done with it.
    """


class ReadError(Exception):
    """A step has looked at what it should not."""


def _read(*args: Any) -> Any:
    raise ReadError


for _name in {*dir(int), "__iter__", "__len__", "__getitem__", "__contains__"} - {*dir(object)} | {
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__str__", "__repr__", "__format__")
}:
    setattr(Unread, _name, _read)


def obstacle(step: FusedStep, name: str, batch: Any, others: int) -> str | None:
    """Why a step has to run each time; None if it may be replayed.

    Args:
        step: what is to be recorded. What it changes is changed back.
        name: ``training_step`` or ``validation_step``.
        batch: of the step.
        others: how many arguments come after it: the batch's number, and a loader's.
    """
    if not only_tensors(batch):
        return "its batches are not tensors alone"
    for metric in step.metrics.template.values():
        if dim_zero_mean in metric._reductions.values():
            # Such a metric counts its updates, and computes with the count.
            return f"{type(metric).__name__} computes with a number that is kept on the host"
    found, calls = [], []
    with isolated_rngs():
        seed_cpu_rngs(0)
        before = rng_states()
        step.shared_trainer.read.clear()
        try:
            for _ in range(2):
                set_rng_states(before)
                with undone(step, rows=1):
                    with _waits_refused(step), _host_calls() as called:
                        output = step(name, batch, *[Unread()] * others)
                    calls += called
                    found.append(_given(step, output))
        except (ReadError, CannotFuseError) as error:
            # The step as it is has been run before: it is the stand-in, or the refusal, that it does not take.
            return "it waits for the device" if "synchroniz" in str(error) else "it reads batch_idx"
        drawn = _drew_on_host(before)
    if changing := sorted(step.shared_trainer.read - _CONSTANT):
        return f"it reads trainer.{changing[0]}"
    if drawn:
        return "it draws random numbers on the host"
    if not all(map(_close, *found)):
        return "it gives something else each time"
    if calls:
        return f"it calls {calls[0]}"
    if output.added:
        return "it adds to lists"
    return "it calls the metrics of each trial" if step.metrics.calls else None


# What does not change while a fit goes on.
_CONSTANT = frozenset(
    {
        *("max_epochs", "max_steps", "min_epochs", "min_steps", "fast_dev_run", "barebones", "precision"),
        *("world_size", "num_nodes", "num_devices", "global_rank", "local_rank", "node_rank", "is_global_zero", "device_ids"),
        *("gradient_clip_val", "gradient_clip_algorithm", "log_every_n_steps", "default_root_dir"),
    }
)


def _given(step: FusedStep, output: StepOutput) -> list[Tensor]:
    """All that has come of a step."""
    logged = [each.values for each in output.logged]
    shared = step.stack.shared
    updated = [shared.tensors[name] for name in sorted(shared.updated)]
    tensors = taken_apart((output.output, logged, step.metrics.states, step.stack.buffers, updated))[1]
    return [tensor.detach().clone() for tensor in tensors]


def _close(one: Tensor, other: Tensor) -> bool:
    # On a GPU, sums may be made in another order each time.
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=1e-3, atol=1e-6, equal_nan=True)


@contextmanager
def _waits_refused(step: FusedStep) -> Iterator[None]:
    """Has operations fail that wait for a GPU: while it records, it cannot be waited for."""
    if step.stack.device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # That not all such operations are known yet.
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _drew_on_host(before: dict[str, Any]) -> bool:
    now = rng_states()
    of_numpy = [same(one, other) for one, other in zip(now["numpy"], before["numpy"], strict=True)]
    return now["python"] != before["python"] or not all(of_numpy) or not torch.equal(now["torch"], before["torch"])


@contextmanager
def _host_calls() -> Iterator[list[str]]:
    """Notes the calls of functions that do something outside, or that give something else each time."""
    found: list[str] = []

    def watch(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and isinstance(function, BuiltinFunctionType) and not isinstance(function.__self__, _IN_MEMORY):
            owner = function.__module__ or type(function.__self__).__module__
            if owner in _OUTSIDE or (owner == "builtins" and function.__name__ in _OUTSIDE_BUILTINS):
                found.append(function.__name__)

    before: Any = sys.getprofile()
    if isinstance(before, Profile):
        # Python cannot put it back where it was.
        before.disable()
    # What others have called when garbage is collected is not the step's.
    collecting = gc.isenabled()
    gc.disable()
    sys.setprofile(watch)
    try:
        yield found
    finally:
        sys.setprofile(None if isinstance(before, Profile) else before)
        if isinstance(before, Profile):
            before.enable()
        if collecting:
            gc.enable()


_IN_MEMORY = (io.BytesIO, io.StringIO)
_OUTSIDE = frozenset({"_io", "time", "_socket"})
_OUTSIDE_BUILTINS = frozenset({"print", "input", "open"})
