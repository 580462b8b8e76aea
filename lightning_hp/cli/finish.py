"""``lightning-hp finish``: trains a trial that was pruned to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch.cli import LightningCLI

from lightning_hp.cli.rebuild import rebuild


def main(root: str, number: int, make: Callable[[], Any] = LightningCLI) -> int:
    loop = rebuild(root, f"loop.finish({number})", make)
    trial = loop.finish(number)
    told = f"{loop.recipe.monitor} {trial.value:.4g}" if trial.value is not None else trial.reason
    print(f"trial {number}: {trial.state}, {told}, epochs: {trial.epochs}")
    return 0 if trial.state == "complete" else 1
