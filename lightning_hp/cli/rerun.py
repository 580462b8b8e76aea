"""``lightning-hp rerun``: a trial once more, to see whether it comes out the same."""

from __future__ import annotations

from lightning_hp.cli.rebuild import rebuild


def main(root: str, number: int, tolerance: float) -> int:
    done = rebuild(root, f"loop.rerun({number})").rerun(number, tolerance)
    print(done)
    return 0 if done.same else 1
