"""Trial-epochs a second of a search over heads above a frozen network: one trial after another, and as one fit.

    python tests/benchmarks/frozen.py [--models resnet encoder] [--together 8 32] [--epochs 10] [--rounds 3] [--serial 8]
    python tests/benchmarks/frozen.py --accelerator gpu --together 8 64 512 --epochs 20

The networks have random weights, the same in all trials: a ResNet of four blocks, whose normalizations go on with their
averages as they do where nobody has put them into evaluation mode, and an encoder of four transformer layers. Above each, a
linear layer learns scikit-learn's digits, enlarged to 32 x 32 pixels. Three sides: trials one after another; as one fit, where
what they have in common is held and computed once (``shared``); and as one fit of networks that differ from trial to trial,
each with a copy and a computation of its own (``stacked``). Sides take turns; each has a process of its own, whose time counts
from when all is imported. Memory is that of the process at its largest, or of the GPU.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch
from common import CORES, Mlp, forked, in_turn, random_search, silence, told, versions
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

# By the side, how trials go together, and whether each network has weights of its own.
SIDES = {"one after another": ("never", False), "stacked": ("always", True), "shared": ("always", False)}


class Block(nn.Module):
    """Two convolutions and a way around them (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(inputs, outputs, 1, stride)
        self.through = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return (self.around(images) + self.through(images)).relu()


def resnet() -> nn.Module:
    blocks = [Block(1, 16, 1), Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Pooled(nn.Module):
    def forward(self, words: Tensor) -> Tensor:
        return words.mean(1)


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    patches = nn.Sequential(nn.Conv2d(1, 64, 4, 4), nn.Flatten(2))
    return nn.Sequential(patches, Turned(), nn.TransformerEncoder(layer, 4), Pooled())


class Turned(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.transpose(1, 2)


NETWORKS = {"resnet": resnet, "encoder": encoder}


class Head(Mlp):
    """A linear layer above a frozen network."""

    network: str
    own: bool

    def make(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.lr * 1e9) if self.own else 0)
            backbone = NETWORKS[self.network]().requires_grad_(False)
        return nn.Sequential(backbone, nn.Linear(64, 10))


def loaders() -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    """512 digits to train on in batches of 64, and 128 to validate on."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images[:640], dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(labels[:640])
    x = nn.functional.interpolate(x, size=32, mode="bilinear")
    train, val = TensorDataset(x[:512], y[:512]), TensorDataset(x[512:], y[512:])
    return DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=128)


def run(side: str, network: str, trials: int, epochs: int, accelerator: str) -> tuple[float, float]:
    """The seconds of one side, and the MiB of its process or of the GPU."""
    silence()
    # What makes torch's threads and starts the device.
    device = "cuda" if accelerator == "gpu" else "cpu"
    torch.rand(256, 256, device=device) @ torch.rand(256, 256, device=device)
    fuse, own = SIDES[side]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        model = type("Head", (Head,), {"network": network, "own": own})
        trainer = {"max_epochs": epochs, "accelerator": accelerator}
        random_search(model, loaders, trials, Path(folder) / "study", trainer=trainer, executor="inline", fuse=fuse)
        seconds = time.perf_counter() - began
    on_host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds, torch.cuda.max_memory_allocated() / 2**20 if accelerator == "gpu" else on_host


def compare(network: str, trials: int, epochs: int, rounds: int, accelerator: str, serial: int) -> None:
    print(f"\n{network}, K = {trials}, {epochs} epochs; trial-epochs a second, median of {rounds} rounds (min to max)")

    def measure(side: str) -> tuple[float, float]:
        run_here = min(trials, serial) if side == "one after another" else trials
        seconds, peak = forked(run, side, network, run_here, epochs, accelerator)
        return run_here * epochs / seconds, peak

    found = list(in_turn(list(SIDES), rounds, measure))
    for side in SIDES:
        rates, peaks = zip(*(each[side] for each in found), strict=True)
        ratio = [rate / each["one after another"][0] for rate, each in zip(rates, found, strict=True)]
        print(f"  {side:<17} {told(rates, digits=1)}; {told(ratio, 'x', 1)}; {max(peaks):.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--together", type=int, nargs="+", default=[8, 32], metavar="K")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serial", type=int, default=8, metavar="N", help="most trials of those one after another")
    parser.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    for network in options.models:
        for trials in options.together:
            compare(network, trials, options.epochs, options.rounds, options.accelerator, options.serial)
    device = torch.cuda.get_device_name() if options.accelerator == "gpu" else f"CPU, {CORES} cores"
    print(f"\n{versions()}, {device}")


if __name__ == "__main__":
    main()
