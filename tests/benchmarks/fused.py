"""Trial-epochs a second: the same trials through Optuna around Trainer.fit, through our processes, and fused.

    pip install optuna
    python tests/benchmarks/fused.py [--models mlp cnn] [--together 8 32 64 128] [--epochs 10] [--rounds 3] [--accelerator cpu]
    python tests/benchmarks/fused.py --accelerator gpu --together 8 64 512 --epochs 30 --serial 8

Each K of ``--together`` is a search of K trials on scikit-learn's digits. All sides try the same hyperparameters, log the same
curves and write the best and the last checkpoint. The sides take turns; each has a process of its own, whose time counts from
when it has made a small search of the same kind, so that all is imported and the device has what it loads once. ``floor`` is no
search: the bare arithmetic of K models, written by hand as batched matrix products (or grouped convolutions), with nothing
logged or saved. Optuna's side takes its trials one after another; with ``--serial`` it has only so many, which gives the same
rate and takes less time. Memory is that of the largest process, or of the GPU.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from common import (
    CORES,
    SPACE,
    Cnn,
    Mlp,
    drawn,
    fit,
    forked,
    in_turn,
    loaders,
    optuna_study,
    random_search,
    silence,
    told,
    versions,
)
from torch import Tensor
from torch.nn import functional

MODELS: dict[str, type[Mlp]] = {"mlp": Mlp, "cnn": Cnn}
# Trials of the search that is not timed: as many as have their pictures drawn.
SMALL = 12


def search(executor: str, fuse: str, model: str, trials: int, epochs: int, accelerator: str, root: Path) -> None:
    trainer = {"max_epochs": epochs, "accelerator": accelerator}
    random_search(MODELS[model], loaders, trials, root, trainer=trainer, executor=executor, fuse=fuse)


def optuna(model: str, trials: int, epochs: int, accelerator: str, root: Path) -> None:
    def one(number: int, hparams: dict[str, float]) -> float:
        return fit(MODELS[model], loaders, hparams, root / str(number), epochs, number, accelerator=accelerator)

    optuna_study(SPACE, trials, root, one)


def floor(model: str, trials: int, epochs: int, accelerator: str, root: Path) -> None:
    """Stacked weights, their gradients, SGD with momentum; the batches of the other sides."""
    device = "cuda" if accelerator == "gpu" else "cpu"
    modules = [MODELS[model](**hparams).to(device) for hparams in drawn(SPACE, trials)]
    stacked = [torch.stack(each).detach().requires_grad_() for each in zip(*(m.parameters() for m in modules), strict=True)]
    rates, momenta = (torch.tensor([getattr(m, name) for m in modules], device=device) for name in ("lr", "momentum"))
    velocities = [torch.zeros_like(each) for each in stacked]
    train, val = loaders()
    forward = FORWARDS[model]
    for _ in range(epochs):
        for x, y in ((each.to(device) for each in batch) for batch in train):
            loss = loss_by_hand(forward(stacked, x, trials), y)
            for weight, velocity, gradient in zip(stacked, velocities, torch.autograd.grad(loss, stacked), strict=True):
                shape = (-1, *[1] * (weight.dim() - 1))
                with torch.no_grad():
                    weight.sub_(velocity.mul_(momenta.view(shape)).add_(gradient) * rates.view(shape))
        with torch.no_grad():
            for x, y in ((each.to(device) for each in batch) for batch in val):
                loss_by_hand(forward(stacked, x, trials), y)


def loss_by_hand(logits: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)), reduction="sum") / len(y)


def _mlp(weights: list[Tensor], x: Tensor, trials: int) -> Tensor:
    x = x.expand(trials, *x.shape)
    for index in range(0, len(weights), 2):
        x = torch.baddbmm(weights[index + 1].unsqueeze(1), x, weights[index].transpose(1, 2))
        x = x.relu() if index + 2 < len(weights) else x
    return x


def _cnn(weights: list[Tensor], x: Tensor, trials: int) -> Tensor:
    x = x.view(-1, 1, 8, 8).repeat(1, trials, 1, 1)
    for index in (0, 4):
        x = functional.conv2d(x, weights[index].flatten(0, 1), weights[index + 1].flatten(), padding=1, groups=trials)
        x = functional.batch_norm(x, None, None, weights[index + 2].flatten(), weights[index + 3].flatten(), training=True)
        x = x.relu()
    x = functional.max_pool2d(x, 2).view(len(x), trials, -1).transpose(0, 1)
    return torch.baddbmm(weights[9].unsqueeze(1), x, weights[8].transpose(1, 2))


FORWARDS: dict[str, Callable[[list[Tensor], Tensor, int], Tensor]] = {"mlp": _mlp, "cnn": _cnn}
SIDES: dict[str, Callable[[str, int, int, str, Path], None]] = {
    "optuna": optuna,
    "processes": partial(search, "processes", "never"),
    "fused": partial(search, "inline", "always"),
    "fused, processes": partial(search, "processes", "always"),
    "floor": floor,
}


def run(side: str, model: str, trials: int, epochs: int, accelerator: str) -> tuple[float, float]:
    """The seconds of one side, and the MiB of its largest process or of the GPU."""
    silence()
    with tempfile.TemporaryDirectory() as folder:
        if accelerator == "cpu" or "processes" not in side:
            SIDES[side](model, SMALL, 1, accelerator, Path(folder) / "small")
        # Else this process must not have started the device: workers are forked, and start it by themselves.
        began = time.perf_counter()
        SIDES[side](model, trials, epochs, accelerator, Path(folder) / "study")
        if accelerator == "gpu" and "processes" not in side:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    if accelerator == "gpu" and "processes" not in side:
        peak = torch.cuda.max_memory_allocated() / 2**20
    return seconds, peak


def compare(model: str, trials: int, epochs: int, rounds: int, sides: list[str], accelerator: str, serial: int) -> None:
    print(f"\n{model}, K = {trials}, {epochs} epochs; trial-epochs a second, median of {rounds} rounds (min to max)")

    def measure(side: str) -> tuple[float, float]:
        run_here = min(trials, serial) if side == "optuna" else trials
        seconds, peak = forked(run, side, model, run_here, epochs, accelerator)
        return run_here * epochs / seconds, peak

    found = list(in_turn(sides, rounds, measure))
    rates = {side: [each[side][0] for each in found] for side in sides}
    for side in sides:
        ratio = ""
        if side != "optuna" and "optuna" in sides:
            ratio = f"; to Optuna {told([a / b for a, b in zip(rates[side], rates['optuna'], strict=True)], 'x', 1)}"
        if side.startswith("fused") and "floor" in sides:
            share = [a / b for a, b in zip(rates[side], rates["floor"], strict=True)]
            ratio += f"; of the floor {told([100 * each for each in share], '%', 0)}"
        print(f"  {side:<17} {told(rates[side], digits=1)}{ratio}; {max(each[side][1] for each in found):.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--together", type=int, nargs="+", default=[8, 32, 64, 128], metavar="K")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serial", type=int, default=10**6, metavar="N", help="most trials of Optuna's side")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    sides = [side for side in options.sides if side != "optuna" or find_spec("optuna")]
    for model in options.models:
        for trials in options.together:
            compare(model, trials, options.epochs, options.rounds, sides, options.accelerator, options.serial)
    device = torch.cuda.get_device_name() if options.accelerator == "gpu" else f"CPU, {CORES} cores"
    print(f"\n{versions('optuna')}, {device}")


if __name__ == "__main__":
    main()
