"""``lightning-hp rerun``: a trial once more, to see whether it comes out the same."""

from __future__ import annotations

from lightning_hp.cli.rebuild import rebuild
from lightning_hp.study.comparison import TOLERANCE


def main(root: str, number: int, tolerance: float = TOLERANCE) -> int:
    done = rebuild(root, f"loop.rerun({number})").rerun(number, tolerance)
    print(done)
    return 0 if done.same else 1
