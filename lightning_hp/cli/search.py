"""``lightning-hp search``: runs or resumes the search of a config."""

from __future__ import annotations

import sys
from typing import Any

from lightning_hp.cli.config import build, load
from lightning_hp.cli.lint import advice
from lightning_hp.cli.show import print_leaderboard, table_console


def main(config: str, **flags: Any) -> int:
    loop = build(config, load(config, flags))
    for line in advice(loop):
        print(f"note: {line}", file=sys.stderr)
    study = loop.run()
    console = table_console()
    print_leaderboard(study, console, most=10)
    ranked = study.leaderboard(1)
    if ranked and ranked[0].checkpoint is not None:
        console.print(f"best checkpoint: {ranked[0].checkpoint}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"curves:          tensorboard --logdir {loop.root}", soft_wrap=True, highlight=False, markup=False)
    return 0 if ranked else 1
