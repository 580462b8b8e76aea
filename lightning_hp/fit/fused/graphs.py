"""Steps that are recorded once and then replayed, so that a device does not wait for Python: on CUDA, as CUDA graphs.

A small network's step takes a GPU some tens of microseconds, and Python milliseconds to ask for: each operation by itself, for
the step, its gradients and vmap's way of putting both for all rows. A replay asks for all of it in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from lightning_hp.fit.fused.metrics import States
from lightning_hp.fit.fused.replayable import Unread, obstacle
from lightning_hp.fit.fused.step import FusedStep
from lightning_hp.fit.fused.step_output import StepOutput, loss_of
from lightning_hp.fit.fused.trees import per_row, put_together, taken_apart

T = TypeVar("T")

# Kinds of batches that are recorded: each takes memory of the device for what its step makes.
MOST_KINDS = 8
# Kinds that are remembered until they come again.
MOST_SEEN = 1000
# Times that recordings may be in vain, since a hook changes what they take for granted before so many replays of each.
MOST_WASTED, LEAST_REPLAYS = 3, 10


class Graph(Protocol):
    """Records work on a device."""

    def record(self, run: Callable[[], T]) -> T:
        """Takes down what ``run`` asks of the device. Nothing of it is done yet.

        Returns:
            What ``run`` returns; its tensors are filled by `replay`.
        """

    def replay(self) -> None:
        """Does it, with what the tensors that it reads hold by now."""


class CudaGraph:
    """A CUDA graph.

    Args:
        shared: another, whose memory it may use as well: of what a replay leaves there, nothing is needed after the next.
    """

    def __init__(self, shared: CudaGraph | None = None) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._pool: Any = None if shared is None else shared._graph.pool()

    def record(self, run: Callable[[], T]) -> T:
        stream = torch.cuda.current_stream()
        try:
            # Other threads, such as those that pin memory, may use the device in the meantime.
            with torch.cuda.graph(self._graph, pool=self._pool, capture_error_mode="thread_local"):
                return run()
        finally:
            # Where the recording fails, torch leaves its own stream on.
            torch.cuda.set_stream(stream)

    def replay(self) -> None:
        self._graph.replay()


# By the types of devices that have such a thing. Takes another graph on the device, whose memory the new one may use.
GRAPHS: dict[str, Callable[[Any], Graph]] = {"cuda": CudaGraph}


@dataclass
class _Recorded:
    """What a recorded step makes.

    Attributes:
        output: what it returns, without the graph of its gradients.
        gradients: of the losses, by the parameters' names.
        states: of the metrics, after it.
        values: of the metrics' ``forward``.
        counts: how often it updates each metric.
    """

    output: StepOutput
    gradients: Mapping[str, Tensor]
    states: States
    values: Mapping[str, Tensor]
    counts: Mapping[str, int]


@dataclass
class _Recording:
    """A recorded step.

    Attributes:
        graph: does it.
        inputs: the tensors that it reads besides the stack's, to be filled before.
        made: what comes of it.
    """

    graph: Graph
    inputs: list[Tensor]
    made: _Recorded


class StepGraphs:
    """The recordings of a fused step: one for each kind of batch that comes more than once.

    Args:
        step: the fused step.
        name: ``training_step`` or ``validation_step``.

    Attributes:
        gradients: of the last replay of a training step, by the parameters' names.
        obstacle: why nothing is recorded, if that is so.
    """

    def __init__(self, step: FusedStep, name: str) -> None:
        self.step = step
        self.name = name
        self.gradients: Mapping[str, Tensor] = {}
        self.obstacle: str | None = None
        self._device = step.stack.device
        self._recordings: dict[str, _Recording | None] = {}
        # Of all trained parameters, for all recordings.
        self._gradients: dict[str, Tensor] = {}
        self._version: Any = None
        self._refusal: str | None = None
        self._replays = self._wasted = 0

    def __call__(self, args: tuple[Any, ...], factors: Tensor | None, share: float) -> StepOutput | None:
        """Replays the step, or records it first.

        Args:
            args: of the step: a batch, its number, and a loader's.
            factors: of the rows' losses, by which gradients are larger; None for 1.
            share: by which all gradients are smaller, those of one of several batches of an optimizer's step.

        Returns:
            What the step gives; None if it is to be run by itself.
        """
        self._drop_if_changed()
        if self.obstacle is not None:
            return None
        nest, tensors = taken_apart((args[0], self.step.carried.tensors(), self.step.metrics.states, factors))
        if any(tensor.device != self._device for tensor in tensors):
            return None
        key = str((nest, share, self.step.carried.paths, [(tensor.shape, tensor.dtype) for tensor in tensors]))
        if key not in self._recordings:
            if not self._recordings:
                self.obstacle = obstacle(self.step, self.name, args[0], len(args) - 1)
            if len(self._recordings) >= MOST_SEEN:
                self._recordings = {each: recording for each, recording in self._recordings.items() if recording is not None}
            # What comes once is run.
            self._recordings[key] = None
            return None
        recording = self._recordings[key]
        if recording is None:
            if sum(each is not None for each in self._recordings.values()) >= MOST_KINDS:
                return None
            recording = self._recordings[key] = self._recorded(nest, tensors, len(args) - 1, share)
        return None if recording is None else self._replayed(recording, tensors)

    def forget(self) -> None:
        """Gives up what has been recorded, with the memory that it holds."""
        self._recordings, self._gradients, self._replays = {}, {}, 0
        self.obstacle = "it changes too often" if self._wasted >= MOST_WASTED else self._refusal

    def _drop_if_changed(self) -> None:
        """Forgets if anything that a recording takes for granted is no longer so."""
        version = self.step.version
        if version != self._version:
            made = [recording for recording in self._recordings.values() if recording is not None]
            if made and self._replays < LEAST_REPLAYS * len(made):
                self._wasted += 1
            self.forget()
            self._version = version

    def _recorded(self, nest: Any, tensors: Sequence[Tensor], others: int, share: float) -> _Recording | None:
        step, inputs = self.step, [tensor.clone() for tensor in tensors]
        batch, numbers, states, factors = put_together(nest, inputs)
        if self.name == "training_step" and not self._gradients:
            parameters = {name: each for name, each in step.stack.parameters.items() if each.requires_grad}
            self._gradients = {name: torch.empty_like(each) for name, each in parameters.items()}

        # A state that is kept as it is would be written and read by the copy to the next one's inputs.
        own = {_memory(tensor) for tensor in inputs}

        def run() -> _Recorded:
            before = dict(step.metrics.counts)
            with step.stack.as_new(), step.metrics.borrowed(states), step.carried.borrowed(numbers):
                trained = {name: each for name, each in step.stack.parameters.items() if each.requires_grad}
                output = step(self.name, batch, *[Unread()] * others)
                training = self.name == "training_step"
                gradients = self._differentiated(loss_of(output), trained, factors, share) if training else {}
                counts = {path: count - before[path] for path, count in step.metrics.counts.items()}
                logged = [replace(each, values=_each_tensor(each.values, Tensor.detach)) for each in output.logged]
                after = _each_tensor(step.metrics.states, lambda state: state.clone() if _memory(state) in own else state)
                plain = StepOutput(_each_tensor(output.output, Tensor.detach), logged)
                return _Recorded(plain, gradients, after, step.metrics.values, counts)

        graph = GRAPHS[self._device.type](next((each.graph for each in self._recordings.values() if each), None))
        # What autocast keeps of the parameters for the next operations would stay as it is.
        torch.clear_autocast_cache()
        try:
            return _Recording(graph, inputs, graph.record(run))
        except Exception as error:
            self._refusal = self.obstacle = f"it cannot be recorded: {error}"
            return None
        finally:
            torch.clear_autocast_cache()

    def _differentiated(
        self, losses: Tensor, trained: Mapping[str, Tensor], factors: Tensor | None, share: float
    ) -> dict[str, Tensor]:
        weights = torch.ones_like(losses)
        if factors is not None:
            weights = weights * per_row(factors.to(losses.dtype), losses)
        with torch.autocast(losses.device.type, enabled=False):
            found = torch.autograd.grad(losses, list(trained.values()), weights / share, allow_unused=True)
        made = {name: gradient for name, gradient in zip(trained, found, strict=True) if gradient is not None}
        return {name: self._gradients[name].copy_(gradient) for name, gradient in made.items()}

    def _replayed(self, recording: _Recording, tensors: Sequence[Tensor]) -> StepOutput:
        torch._foreach_copy_(recording.inputs, list(tensors))
        recording.graph.replay()
        made, metrics = recording.made, self.step.metrics
        self.step.stack.shared.stale = True
        self._replays, self.gradients = self._replays + 1, made.gradients
        metrics.states = {path: dict(states) for path, states in made.states.items()}
        metrics.counts = {path: count + made.counts[path] for path, count in metrics.counts.items()}
        # The next replay writes to the same tensors.
        metrics.values = {path: value.clone() for path, value in made.values.items()}
        logged = [replace(each, values=_each_tensor(each.values, Tensor.clone)) for each in made.output.logged]
        return StepOutput(_each_tensor(made.output.output, Tensor.clone), logged)


def _each_tensor(tree: Any, do: Callable[[Tensor], Tensor]) -> Any:
    """A nest of containers with something done to each tensor in it."""
    nest, tensors = taken_apart(tree)
    return put_together(nest, list(map(do, tensors)))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
