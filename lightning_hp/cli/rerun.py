"""``lightning-hp rerun``: a trial once more, to see whether it comes out the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch.cli import LightningCLI

from lightning_hp.cli.rebuild import rebuild
from lightning_hp.study.comparison import TOLERANCE


def main(root: str, number: int, tolerance: float = TOLERANCE, make: Callable[[], Any] = LightningCLI) -> int:
    done = rebuild(root, f"loop.rerun({number})", make).rerun(number, tolerance)
    print(done)
    return 0 if done.same else 1
