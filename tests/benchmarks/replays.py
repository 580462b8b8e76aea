"""A step and its gradients alone, on a GPU: by torch.func.vmap, the same replayed as a CUDA graph, and by hand as a CUDA graph.

    python tests/benchmarks/replays.py [--models mlp cnn] [--together 64 512]

Milliseconds a step of the models of tests/benchmarks/fused.py, mean of 50 (200 of replays) after 5 that are not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from common import SPACE, drawn, loaders, versions
from fused import FORWARDS, MODELS, loss_by_hand
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional


def milliseconds(run: Callable[[], object], times: int = 50) -> float:
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        run()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - began) / times


def recorded(run: Callable[[], object]) -> Callable[[], None]:
    """The same as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def by_vmap(model: str, trials: int, x: Tensor, y: Tensor) -> Callable[[], object]:
    modules = [MODELS[model](**hparams).cuda() for hparams in drawn(SPACE, trials)]
    stacked, buffers = stack_module_state([module.net for module in modules])
    parameters = {name: each.detach().requires_grad_() for name, each in stacked.items()}

    def one(own: dict[str, Tensor], kept: dict[str, Tensor]) -> Tensor:
        return functional.cross_entropy(functional_call(modules[0].net, (own, kept), (x,)), y)

    def run() -> object:
        losses = vmap(one, randomness="different")(parameters, buffers)
        return torch.autograd.grad(losses.sum(), list(parameters.values()))

    return run


def by_hand(model: str, trials: int, x: Tensor, y: Tensor) -> Callable[[], object]:
    modules = [MODELS[model](**hparams).cuda() for hparams in drawn(SPACE, trials)]
    weights = [torch.stack(each).detach().requires_grad_() for each in zip(*(m.parameters() for m in modules), strict=True)]
    forward = partial(FORWARDS[model], weights, x, trials)
    return lambda: torch.autograd.grad(loss_by_hand(forward(), y), weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--together", type=int, nargs="+", default=[64, 512], metavar="K")
    options = parser.parse_args()
    x, y = (each.cuda() for each in next(iter(loaders()[0])))
    for model in options.models:
        for trials in options.together:
            run = by_vmap(model, trials, x, y)
            replay, hand = recorded(run), recorded(by_hand(model, trials, x, y))
            times = [milliseconds(run), milliseconds(replay, 200), milliseconds(hand, 200)]
            print(f"{model}, K = {trials}: vmap {times[0]:.2f}, replayed {times[1]:.2f}, by hand {times[2]:.2f}", flush=True)
    print(f"{versions()}, {torch.cuda.get_device_name()}")


if __name__ == "__main__":
    main()
