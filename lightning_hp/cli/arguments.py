"""The arguments of the ``lightning-hp`` command: what there is to type, and what each means."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import lightning_hp
from lightning_hp.cli.settings import BABYSIT_SETTINGS, FOLLOW_SETTINGS, SETTINGS, parse_value
from lightning_hp.errors import ConfigError, did_you_mean

_CONFIG_HELP = "YAML with model, data, trainer (as LightningCLI has them) and search"
_FILTER_HELP = (
    "only trials like 'lr<0.01', state=failed or 'val_acc>=0.9' (of the best epoch; last.val_acc of the last); may be repeated"
)
# Taken as they stand: a folder may be called 2024.
_TEXTS = frozenset({"monitor", "mode", "executor", "root", "from", "replay"})
_SWITCHES = frozenset({"babysit", "verbose", "zoom"})
# What a person can ask of a running, babysat fit.
REQUESTS = {
    "nudge": "change lr or momentum of a running fit",
    "rollback": "take a running fit back to its last good snapshot",
    "pause": "hold a running fit",
    "resume": "let a paused fit go on",
    "stop": "end a running fit as it stands",
}

_REQUEST_HELP = (
    "The fit has to be babysat. It answers when it has done so, or refuses what the Babysitter's bounds, or the space of its "
    "study, do not allow. Ctrl-C takes a request back that has not been carried out yet."
)

_MORE_HELP = {
    "nudge": "lr=0.01 is a value, lr=x0.5 a factor; momentum=0.95 is a value, momentum=x0.5 a factor of its distance to 1, "
    "which takes 0.9 to 0.95. Adam's beta1 is its momentum. Schedules go on from there. Of several rates the highest gets "
    "the value, and the others keep their proportion to it.",
    "rollback": "Weights, optimizer, schedules, lr and momentum come back; steps, epochs and data run on.",
    "pause": "It holds before a batch until resume or stop, and takes other requests meanwhile. Trials that train in the same "
    "process wait with it, and a fit that is killed meanwhile goes on unpaused.",
    "stop": "The trial counts as complete, with its best value so far.",
}


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def parse_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """The command, and the arguments of its ``main`` by name. Ends the process where they are wrong (2) or ask for help."""
    parser = _parser()
    options, unknown = parser.parse_known_args(_with_switches_on(arguments))
    if unknown:
        named = unknown[0].partition("=")[0]
        hint = did_you_mean(named, _flags(options.command))
        prog = f"{parser.prog} {options.command}"
        parser.exit(2, f"{prog}: unknown argument {named}{hint}; see {prog} --help\n")
    return vars(options)


def _with_switches_on(arguments: Sequence[str]) -> list[str]:
    """``--babysit CONFIG`` as ``--babysit=true CONFIG``: argparse would take the config for the switch's value."""
    switches = {f"--{name}" for name in _SWITCHES}
    following = [*arguments[1:], "true"]
    return [
        f"{argument}=true" if argument in switches and not _is_switch_value(after) else argument
        for argument, after in zip(arguments, following, strict=False)
    ]


def _is_switch_value(text: str) -> bool:
    try:
        return isinstance(parse_value(text), (bool, Mapping))
    except ConfigError:
        # To be told as what it is: a broken value.
        return True


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lightning-hp", description="Hyperparameter search and babysitting for PyTorch Lightning models.")
    parser.add_argument("--version", action="version", version=lightning_hp.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    search = commands.add_parser("search", help="run a search, or go on with one", description="Runs or resumes a search.")
    search.add_argument("config", metavar="CONFIG", nargs="?", help=f"{_CONFIG_HELP}; may be left out with --from")
    _add_settings(search, {**FOLLOW_SETTINGS, **SETTINGS})

    babysit = commands.add_parser("babysit", help="one babysat fit", description="One babysat fit of the config as it stands.")
    babysit.add_argument("config", metavar="CONFIG", help=_CONFIG_HELP)
    _add_settings(babysit, BABYSIT_SETTINGS)

    show = commands.add_parser("show", help="the leaderboard of a study", description="Shows the leaderboard of a study.")
    show.add_argument("root", metavar="DIR", help="the study's folder")
    show.add_argument("--json", action="store_true", dest="as_json", help="everything, as JSON")
    show.add_argument("--csv", action="store_true", dest="as_csv", help="all the trials as CSV, a row each")
    show.add_argument("--all", action="store_true", dest="everything", help="all the trials, and not the best 20")
    show.add_argument("--sort", metavar="NAME", help="by value (best first), number, epochs, a hyperparameter or a metric")
    show.add_argument("--reverse", action="store_true", help="the other way round")
    show.add_argument("--filter", metavar="CONDITION", action="append", default=[], dest="conditions", help=_FILTER_HELP)

    watch = commands.add_parser(
        "watch",
        help="follow a running search",
        description="Follows a search that runs in another terminal, until it ends or Ctrl-C.",
    )
    watch.add_argument("root", metavar="DIR", help="the study's folder; may still be empty")

    repair = commands.add_parser(
        "repair", help="rebuild a damaged study", description="Rebuilds DIR/study.db from the trials' own records."
    )
    repair.add_argument("root", metavar="DIR", help="the study's folder")

    rerun = commands.add_parser(
        "rerun", help="a trial once more: is it the same?", description="Trains trial N once more and compares its metrics."
    )
    _add_trial(rerun)
    rerun.add_argument(
        "--tolerance", type=float, default=1e-3, help="in parts of a metric, where bits may differ (default 1e-3)"
    )
    finish = commands.add_parser(
        "finish", help="train a pruned trial to its end", description="Trains pruned trial N on, from its last checkpoint."
    )
    _add_trial(finish)

    for kind, text in REQUESTS.items():
        _add_request(commands, kind, text)

    lint = commands.add_parser("lint", help="check a config", description="Says what is wrong or unwise, training nothing.")
    lint.add_argument("config", metavar="CONFIG", help=_CONFIG_HELP)
    return parser


def _add_trial(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="DIR", help="the study's folder")
    parser.add_argument("number", metavar="N", type=int, help="the trial's number")


def _add_request(commands: Any, kind: str, text: str) -> None:
    changes = " [lr=x0.5] [momentum=0.95]" if kind == "nudge" else ""
    parser = commands.add_parser(
        kind,
        help=text,
        description=f"{text[0].upper()}{text[1:]}. {_REQUEST_HELP} {_MORE_HELP.get(kind, '')}",
        usage=f"lightning-hp {kind} DIR [N]{changes} [options]",
    )
    parser.set_defaults(kind=kind)
    parser.add_argument("root", metavar="DIR", help="the study's folder, or that of a single babysat fit")
    parser.add_argument("words", metavar="N", nargs="*", default=[], help="the trial's number; none for a single babysat fit")
    if kind != "resume":
        parser.add_argument(
            "--at", choices=("step", "epoch"), default="step", help="before the next batch (default), or the next epoch"
        )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="how long to wait for the answer (default 60; at an epoch, no end)"
    )
    if kind == "nudge":
        parser.add_argument("--anyway", action="store_true", help="also beyond where the study searches for lr or momentum")


def _flags(command: str) -> list[str]:
    """What may be meant by a flag that is none."""
    settings = {"search": {**FOLLOW_SETTINGS, **SETTINGS}, "babysit": BABYSIT_SETTINGS}.get(command, {})
    own = {"show": ["--json", "--csv", "--all", "--sort", "--reverse", "--filter"], "rerun": ["--tolerance"]}.get(command, [])
    own += ["--at", "--timeout", "--anyway"] if command in REQUESTS else []
    return [*(f"--{name.replace('_', '-')}" for name in settings), *own, "--help"]


def _add_settings(parser: argparse.ArgumentParser, settings: Mapping[str, str]) -> None:
    for name, text in settings.items():
        # No default: a flag that is not given leaves the config's value.
        form: dict[str, Any] = {
            "type": str if name in _TEXTS else _value,
            "default": argparse.SUPPRESS,
            "metavar": name.upper(),
            "dest": name,
        }
        if name in _SWITCHES:
            form |= {"nargs": "?", "const": True}
        parser.add_argument(f"--{name.replace('_', '-')}", **form, help=text)
        if "_" in name:
            # As the key is written in the config.
            parser.add_argument(f"--{name}", **form, help=argparse.SUPPRESS)


def _value(text: str) -> Any:
    try:
        return parse_value(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
