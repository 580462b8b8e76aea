"""``lightning-hp completion``: a script with which a shell completes commands and flags."""

from __future__ import annotations

from lightning_hp.cli.arguments import command_parser
from lightning_hp.errors import ConfigError


def main(shell: str) -> int:
    try:
        import shtab
    except ModuleNotFoundError:
        raise ConfigError("completion needs the package shtab: pip install 'lightning-hp[completion]'") from None
    print(shtab.complete(command_parser(), shell))
    return 0
