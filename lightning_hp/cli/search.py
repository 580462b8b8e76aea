"""``lightning-hp search``: runs or resumes the search of a config."""

from __future__ import annotations

import sys
from typing import Any

from lightning_hp.cli.config import build, load
from lightning_hp.cli.show import print_leaderboard, table_console
from lightning_hp.space import lint


def main(config: str, **flags: Any) -> int:
    loop = build(config, load(config, flags))
    for advice in lint(loop.space):
        print(f"note: {advice}", file=sys.stderr)
    study = loop.run()
    console = table_console()
    print_leaderboard(study, console, most=10)
    ranked = study.leaderboard()
    if ranked and ranked[0].checkpoint is not None:
        console.print(f"best checkpoint: {ranked[0].checkpoint}", soft_wrap=True, highlight=False)
    console.print(f"curves:          tensorboard --logdir {loop.root}", soft_wrap=True, highlight=False)
    return 0 if ranked else 1
