"""How near a fused fit comes to what the GPU can do, by profile.

    python tests/benchmarks/device_limit.py [--models mlp cnn] [--together 64 512]

For the fits of tests/benchmarks/fused.py, of an epoch when all is under way: the wall time, the time for which the GPU has
work, the same of the arithmetic by hand (``floor`` there), and the least time in which the GPU's memory could give and take the
weights, gradients and momentum buffers of a step (eight times the weights; a copy of 1 GiB says how fast it is).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from common import SPACE, drawn, loaders, silence, versions
from fused import MODELS, floor, search
from torch.profiler import ProfilerActivity, profile

# The epochs of the shorter run, whose time is taken off, and of the longer.
SHORT, LONG = 3, 9


def seconds_an_epoch(run: Callable[[int], None]) -> float:
    """Of a run's wall time, what another epoch adds."""
    times = {}
    for epochs in (SHORT, SHORT, LONG):
        began = time.perf_counter()
        run(epochs)
        torch.cuda.synchronize()
        times[epochs] = time.perf_counter() - began
    return (times[LONG] - times[SHORT]) / (LONG - SHORT)


def busy_an_epoch(run: Callable[[int], None]) -> float:
    """Of the seconds for which the GPU has work, what another epoch adds."""
    times = {}
    for epochs in (SHORT, LONG):
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            run(epochs)
            torch.cuda.synchronize()
        spans = sorted((e.time_range.start, e.time_range.end) for e in profiled.events() if e.device_type.name == "CUDA")
        times[epochs] = union(spans) / 1e6
    return (times[LONG] - times[SHORT]) / (LONG - SHORT)


def union(spans: list[tuple[float, float]]) -> float:
    """The length of what sorted spans cover."""
    covered, last = 0.0, float("-inf")
    for start, end in spans:
        covered += max(0.0, end - max(start, last))
        last = max(last, end)
    return covered


def bytes_a_second() -> float:
    source = torch.rand(2**28, device="cuda")
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return 2 * source.nbytes / sorted(times)[5]


def fused(model: str, trials: int, epochs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        search("inline", "always", model, trials, epochs, "gpu", Path(folder) / "study")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--together", type=int, nargs="+", default=[64, 512], metavar="K")
    options = parser.parse_args()
    silence()
    speed, steps = bytes_a_second(), len(loaders()[0])
    print(f"milliseconds a training step, an epoch of {steps} with its validation; memory at {speed / 1e12:.1f} TB/s")
    for model in options.models:
        for trials in options.together:
            run = partial(fused, model, trials)
            by_hand = partial(floor, model, trials, accelerator="gpu", root=Path())
            weights = sum(each.nbytes for each in MODELS[model](**drawn(SPACE, 1)[0]).parameters()) * trials
            wall, busy, hand = seconds_an_epoch(run), busy_an_epoch(run), busy_an_epoch(by_hand)
            parts = [f"{1e3 * each / steps:.3f}" for each in (wall, busy, hand)]
            print(
                f"  {model}, K = {trials}: {parts[0]}, the GPU has work {parts[1]}, by hand {parts[2]}, "
                f"memory {1e3 * 8 * weights / speed:.3f}",
                flush=True,
            )
    print(f"{versions()}, {torch.cuda.get_device_name()}")


if __name__ == "__main__":
    main()
