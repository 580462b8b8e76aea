"""How many rows a step is run for at once, so that its tensors stay of a size that a CPU is quick with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from lightning_hp.fit.fused.check import undone
from lightning_hp.fit.fused.lists import Growth
from lightning_hp.fit.fused.overrides import Vectorizable
from lightning_hp.fit.fused.step import FusedStep
from lightning_hp.fit.fused.step_output import metric_paths, step_log
from lightning_hp.fit.fused.trees import taken_apart, unshared
from lightning_hp.fit.rng import isolated_rngs

# Bytes that a tensor of all rows may have on a CPU. Memory of large ones goes back to the system at once, and to get its pages
# anew takes as long as the step itself.
LARGEST = 8 * 2**20


def most_at_once(step: FusedStep, name: str, args: tuple[Any, ...]) -> int | None:
    """How many rows a step is to run for at once; None for all. What is computed once for all rows does not count.

    By the sizes of its tensors and not by the time that it takes, so that the trials' random numbers are the same whenever they
    are trained.
    """
    model: LightningModule = step.stack.models[0]  # type: ignore[assignment]
    if model.device.type != "cpu":
        return None
    tensors = (*model.named_parameters(), *model.named_buffers())
    largest = _Largest([tensor for name, tensor in tensors if name not in step.stack.shared.tensors])
    with (
        isolated_rngs(),
        undone(step, rows=1),
        Growth(model).taken(),
        step_log(model, metric_paths(model)),
        largest,
        # In the forms that operations have in a fused step.
        Vectorizable(),
    ):
        getattr(model, name)(unshared(args[0]), *args[1:])
    return max(1, LARGEST // max(1, largest.size))


class _Largest(TorchFunctionMode):
    """Notes the size of the largest tensor, in bytes, that operations make of a row's own, besides views of these.

    Args:
        own: the tensors that are a row's own. So is what operations make of them, or draw.
    """

    def __init__(self, own: Sequence[Tensor]) -> None:
        super().__init__()
        self.size = 0
        self._there = {tensor.untyped_storage()._cdata for tensor in own}
        self._own = WeakIdKeyDictionary(dict.fromkeys(own))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        drawn = torch.get_rng_state()
        result = func(*args, **(kwargs or {}))
        of_row = any(tensor in self._own for tensor in taken_apart((args, kwargs))[1]) or not torch.equal(
            drawn, torch.get_rng_state()
        )
        for each in taken_apart(result)[1] if of_row else ():
            self._own[each] = None
            if (storage := each.untyped_storage())._cdata not in self._there:
                self.size = max(self.size, min(each.nbytes, storage.nbytes()))
        return result
