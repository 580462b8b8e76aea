"""``lightning-hp search``: runs or resumes the search of a config, or one that goes on from another study."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lightning.pytorch.cli import LightningCLI

from lightning_hp.cli.config import build, default_root, load, naming
from lightning_hp.cli.findings import print_briefly
from lightning_hp.cli.follow import explained, follow
from lightning_hp.cli.lint import notes
from lightning_hp.cli.printing import print_config
from lightning_hp.cli.show import print_leaderboard, table_console
from lightning_hp.cli.table import print_line
from lightning_hp.errors import ConfigError, MonitorError
from lightning_hp.executors import ahead
from lightning_hp.executors.processes import Processes


def main(config: Sequence[str], lightning: Sequence[str], make: Callable[[], Any] = LightningCLI, **flags: Any) -> int:
    source, zoom, printing = flags.pop("from", None), flags.pop("zoom", False), flags.pop("print_config")
    with explained(source if not config else None):
        config, asked = _asked(config, lightning, make, source, zoom, flags)
        loop = None if printing else build(config, asked, make)
    if loop is None:
        print_config(asked, make, default_root(config))
        return 0
    if not isinstance(loop.executor, Processes):
        # Nobody will take what the command has started before it knew.
        ahead.stop()
    loop.notes = notes(loop)
    try:
        study = loop.run()
    except MonitorError as error:
        # The one mistake in a config that only training shows.
        with naming(config):
            raise ConfigError(f"search.{error}") from None
    console = table_console()
    print_leaderboard(study, console, most=10)
    print_briefly(study.findings(), console, loop.root)
    ranked = study.leaderboard(1)
    if ranked and ranked[0].checkpoint is not None:
        print_line(console, f"best checkpoint: {ranked[0].checkpoint}")
    print_line(console, f"curves:          tensorboard --logdir {shlex.quote(str(loop.root))}")
    return 0 if ranked else 1


def _asked(
    config: Sequence[str],
    lightning: Sequence[str],
    make: Callable[[], Any],
    source: str | None,
    zoom: Any,
    flags: dict[str, Any],
) -> tuple[Sequence[str], dict[str, Any]]:
    """The config files, those of another study where there are none, and what they and the flags ask for."""
    if not isinstance(zoom, bool):
        raise ConfigError(f"--zoom needs true or false, got {zoom!r}")
    if source is not None:
        return follow(config, source, zoom, partial(load, flags=flags, lightning=lightning, make=make), flags)
    if zoom:
        raise ConfigError("--zoom needs --from DIR, the study whose space it zooms into")
    if not config and make is LightningCLI:
        raise ConfigError("search needs a CONFIG, or --from DIR to go on from a study; see lightning-hp search --help")
    return config, load(config, flags, lightning, make)
