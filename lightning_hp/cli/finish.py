"""``lightning-hp finish``: trains a trial that was pruned to its end."""

from __future__ import annotations

from lightning_hp.cli.rebuild import rebuild


def main(root: str, number: int) -> int:
    loop = rebuild(root, f"loop.finish({number})")
    trial = loop.finish(number)
    told = f"{loop.recipe.monitor} {trial.value:.4g}" if trial.value is not None else trial.reason
    print(f"trial {number}: {trial.state}, {told}, epochs: {trial.epochs}")
    return 0 if trial.state == "complete" else 1
