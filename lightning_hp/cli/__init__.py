"""The ``lightning-hp`` command. Exit codes: 0 done, 2 the config or the arguments are wrong, 1 anything else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import lightning_hp
from lightning_hp.cli.settings import SETTINGS, parse_value
from lightning_hp.errors import ConfigError, LightningHPError

_CONFIG_HELP = "YAML with model, data, trainer (as LightningCLI has them) and search"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: what stands behind ``lightning-hp``; the process's own by default.

    Returns:
        The exit code.
    """
    options = vars(_parser().parse_args(arguments))
    # As with `python -m`: class paths in a config name the user's modules in the folder where the command runs.
    sys.path.insert(0, str(Path.cwd()))
    command: Callable[..., int] = import_module(f"lightning_hp.cli.{options.pop('command')}").main
    try:
        return command(**options)
    except ConfigError as error:
        print(f"lightning-hp: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except LightningHPError as error:
        print(f"lightning-hp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lightning-hp: interrupted; the same command goes on from here", file=sys.stderr)
        return 1
    finally:
        sys.path.pop(0)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lightning-hp", description="Hyperparameter search and babysitting for PyTorch Lightning models.")
    parser.add_argument("--version", action="version", version=lightning_hp.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    search = commands.add_parser("search", help="run a search, or go on with one", description="Runs or resumes a search.")
    search.add_argument("config", metavar="CONFIG", help=_CONFIG_HELP)
    _add_settings(search, SETTINGS)

    babysit = commands.add_parser("babysit", help="one babysat fit", description="One babysat fit of the config as it stands.")
    babysit.add_argument("config", metavar="CONFIG", help=_CONFIG_HELP)
    _add_settings(babysit, {name: SETTINGS[name] for name in ("monitor", "mode", "seed", "root", "verbose")})

    show = commands.add_parser("show", help="the leaderboard of a study", description="Shows the leaderboard of a study.")
    show.add_argument("root", metavar="DIR", help="the study's folder")
    show.add_argument("--json", action="store_true", dest="as_json", help="everything, as JSON")

    lint = commands.add_parser("lint", help="check a config", description="Says what is wrong or unwise, training nothing.")
    lint.add_argument("config", metavar="CONFIG", help=_CONFIG_HELP)
    return parser


def _add_settings(parser: argparse.ArgumentParser, settings: dict[str, str]) -> None:
    for name, text in settings.items():
        # No default: a flag that is not given leaves the config's value.
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            f"--{name}",
            type=parse_value,
            nargs="?",
            const=True,
            default=argparse.SUPPRESS,
            metavar=name.upper(),
            help=text,
        )
