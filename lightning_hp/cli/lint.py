"""``lightning-hp lint``: what is wrong (exit code 2) or unwise (told, exit code 0) in a config, before a minute is spent."""

from __future__ import annotations

from lightning_hp.cli.config import build, load
from lightning_hp.space import lint


def main(config: str) -> int:
    loop = build(config, load(config, {}))
    advice = lint(loop.space)
    for line in advice:
        print(f"{config}: {line}")
    if not advice:
        print(f"{config}: nothing to complain about")
    return 0
