"""The ``lightning-hp`` command. Exit codes: 0 done, 2 the config or the arguments are wrong, 1 anything else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from lightning_hp.cli.ahead import server_ahead
from lightning_hp.cli.arguments import REQUESTS, WITH_CLI, parse_arguments
from lightning_hp.cli.messages import in_yaml
from lightning_hp.errors import ConfigError, LightningHPError

# Several commands are one with several names, and `search` is a name of its own here.
_MODULES = {**dict.fromkeys(REQUESTS, "nudge"), "search": "searching"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: what stands behind ``lightning-hp``; the process's own by default.

    Returns:
        The exit code.
    """
    return _run(parse_arguments(sys.argv[1:] if arguments is None else arguments))


def search(cli: Callable[..., Any], *arguments: Any, **keywords: Any) -> NoReturn:
    """Runs ``lightning-hp search`` with a LightningCLI of your own, in the place of the call that makes it.

    A script that ends with ``MyCLI(MyModel, MyData)`` becomes one that searches by ``search(MyCLI, MyModel, MyData)``. It takes
    the flags of ``lightning-hp search`` beside those of the CLI: ``python script.py config.yaml --trials 20 --model.depth 3``.
    What the CLI does to its parser (links, defaults, forced callbacks, an optimizer's class), ``before_fit`` and ``after_fit``
    hold for each trial. ``python script.py lint config.yaml`` is that command of ``lightning-hp`` with this CLI; so are
    ``babysit``, ``rerun`` and ``finish``.

    Args:
        cli: LightningCLI, a subclass of it, or a function that makes one.
        arguments: what it is called with, but for ``args``: those are the process's.
        keywords: the same by name.

    Raises:
        SystemExit: always, with the exit code of the command.
    """
    make = partial(cli, *arguments, **keywords) if arguments or keywords else cli
    given = sys.argv[1:]
    command = [] if given and given[0] in WITH_CLI else ["search"]
    raise SystemExit(_run({**parse_arguments([*command, *given], own_cli=True), "make": make}))


def _run(options: dict[str, Any]) -> int:
    command = options.pop("command")
    # As with `python -m`: class paths in a config name the user's modules in the folder where the command runs.
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        # Imported here, since torch takes seconds, in which Ctrl-C may come.
        with server_ahead(options) if command == "search" else nullcontext():
            code: int = import_module(f"lightning_hp.cli.{_MODULES.get(command, command)}").main(**options)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        print(f"lightning-hp: {in_yaml(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except LightningHPError as error:
        print(f"lightning-hp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from here" if command == "search" else ""
        print(f"lightning-hp: interrupted{goes_on}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        return 1
    finally:
        with suppress(ValueError):
            sys.path.remove(here)


def _reader_has_left() -> bool:
    """Whether whoever reads our output has seen enough; if so, what is left of it goes nowhere."""
    try:
        # The failed write has emptied the buffer, so that only another one can tell.
        print(flush=True)
    except BrokenPipeError:
        # At exit Python flushes once more, which would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
