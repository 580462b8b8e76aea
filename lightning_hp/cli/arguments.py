"""The arguments of the ``lightning-hp`` command: what there is to type, and what each means."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import lightning_hp
from lightning_hp.cli.settings import BABYSIT_SETTINGS, SEARCH_FLAGS, SETTINGS, parse_value
from lightning_hp.errors import ConfigError, did_you_mean

_CONFIG_HELP = "YAML with model, data, trainer and so on, as LightningCLI has them, and search"
# For which shtab writes completions.
SHELLS = ("bash", "zsh", "tcsh")
# How a setting's flag may be written as well, after its place in the config and like LightningCLI's own.
_DOTTED = "search."
# Commands that take a config, and the first words of LightningCLI's flags.
_CONFIGURED = ("search", "babysit", "lint")
# Those that a LightningCLI of the user's makes a difference to.
WITH_CLI = (*_CONFIGURED, "rerun", "finish")
_SECTIONS = frozenset({"model", "data", "trainer", "optimizer", "lr_scheduler", "seed_everything", "ckpt_path"})
_FILTER_HELP = (
    "only trials like 'lr<0.01', state=failed or 'val_acc>=0.9' (of the best epoch; last.val_acc of the last); may be repeated"
)
# Taken as they stand: a folder may be called 2024.
_TEXTS = frozenset({"monitor", "constraint", "mode", "ray_address", "root", "from", "replay"})
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


def parse_arguments(arguments: Sequence[str], own_cli: bool = False) -> dict[str, Any]:
    """The command, and the arguments of its ``main`` by name. Ends the process where they are wrong (2) or ask for help.

    Args:
        arguments: as they are typed.
        own_cli: whether a LightningCLI of the user's may know flags that are unknown here.
    """
    parser = command_parser()
    ours, lightning = _apart(arguments, own_cli)
    options, unknown = parser.parse_known_args(_with_switches_on(ours))
    if unknown:
        named = unknown[0].partition("=")[0]
        hint = did_you_mean(named, _flags(options.command))
        prog = f"{parser.prog} {options.command}"
        parser.exit(2, f"{prog}: unknown argument {named}{hint}; see {prog} --help\n")
    if options.command in _CONFIGURED:
        options.config += options.more_configs
        del options.more_configs
        options.lightning = lightning
    elif lightning:
        parser.exit(2, f"{parser.prog} {options.command}: unknown argument {lightning[0]}\n")
    return vars(options)


def _apart(arguments: Sequence[str], own_cli: bool) -> tuple[list[str], list[str]]:
    """Our arguments, and those that are flags of LightningCLI, each with its value."""
    command, *rest = arguments or [""]
    if command not in _CONFIGURED:
        return list(arguments), []
    ours, lightning = [command], list[str]()
    known = {*_flags(command), "--config", "--print-config", "--help"}
    while rest:
        argument, *rest = rest
        name = argument.removeprefix("--").partition("=")[0]
        theirs = name.partition(".")[0] in _SECTIONS or "." in name or (own_cli and f"--{name.replace('_', '-')}" not in known)
        if not (argument.startswith("--") and theirs) or name.startswith(_DOTTED):
            ours.append(argument)
            continue
        lightning.append(argument)
        if "=" not in argument and rest and not rest[0].startswith("--"):
            lightning.append(rest.pop(0))
    return ours, lightning


def _with_switches_on(arguments: Sequence[str]) -> list[str]:
    """``--babysit CONFIG`` as ``--babysit=true CONFIG``: argparse would take the config for the switch's value."""
    switches = {f"--{dotted}{name}" for name in _SWITCHES for dotted in ("", _DOTTED)}
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


def command_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = _Parser(prog="lightning-hp", description="Hyperparameter search and babysitting for PyTorch Lightning models.")
    parser.add_argument("--version", action="version", version=lightning_hp.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_training(commands)
    _add_reading(commands)
    _add_mending(commands)
    for kind, text in REQUESTS.items():
        _add_request(commands, kind, text)
    _add_configuring(commands)
    return parser


def _add(commands: Any, name: str, short: str, description: str, folder: str = "the study's folder") -> argparse.ArgumentParser:
    """Adds a command that is about a folder."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=short, description=description)
    parser.add_argument("root", metavar="DIR", help=folder)
    return parser


def _add_training(commands: Any) -> None:
    search = commands.add_parser("search", help="run a search, or go on with one", description="Runs or resumes a search.")
    _add_configs(search, "*", "; may be left out with --from")
    search.add_argument(
        "--print_config", action="store_true", help="print the config with all that can be set, and search nothing"
    )
    _add_settings(search, {**SEARCH_FLAGS, **SETTINGS})

    babysit = commands.add_parser("babysit", help="one babysat fit", description="One babysat fit of the config as it stands.")
    _add_configs(babysit, "+")
    _add_settings(babysit, BABYSIT_SETTINGS)


def _add_reading(commands: Any) -> None:
    show = _add(commands, "show", "the leaderboard of a study", "Shows the leaderboard of a study.")
    show.add_argument("--json", action="store_true", dest="as_json", help="everything, as JSON")
    show.add_argument("--csv", action="store_true", dest="as_csv", help="all the trials as CSV, a row each")
    show.add_argument("--all", action="store_true", dest="everything", help="all the trials, and not the best 20")
    show.add_argument("--sort", metavar="NAME", help="by value (best first), number, epochs, a hyperparameter or a metric")
    show.add_argument("--reverse", action="store_true", help="the other way round")
    show.add_argument("--filter", metavar="CONDITION", action="append", default=[], dest="conditions", help=_FILTER_HELP)

    follows = "Follows a search that runs in another terminal, until it ends or Ctrl-C."
    _add(commands, "watch", "follow a running search", follows, "the study's folder; may still be empty")

    writes = "Writes DIR/report/index.html and its pictures as PNG."
    report = _add(commands, "report", "a page with pictures of a study", writes)
    report.add_argument("--open", action="store_true", dest="in_browser", help="show it in a browser")


def _add_mending(commands: Any) -> None:
    rebuilds = "Rebuilds DIR/study.db from the trials' own records, if it is damaged or gone."
    _add(commands, "repair", "rebuild a damaged study", rebuilds)

    rerun = _add(commands, "rerun", "a trial once more: is it the same?", "Trains trial N once more and compares its metrics.")
    tolerance = "in parts of a metric, where bits may differ (default 1e-3)"
    rerun.add_argument("--tolerance", type=float, default=argparse.SUPPRESS, help=tolerance)
    finishes = "Trains pruned trial N on, from its last checkpoint."
    finish = _add(commands, "finish", "train a pruned trial to its end", finishes)
    for parser in (rerun, finish):
        parser.add_argument("number", metavar="N", type=int, help="the trial's number")


def _add_configuring(commands: Any) -> None:
    lint = commands.add_parser("lint", help="check a config", description="Says what is wrong or unwise, training nothing.")
    _add_configs(lint, "+")

    prints = "Prints the config with which LightningCLI trains the best trial: python script.py fit -c best.yaml"
    best = _add(commands, "best", "the config of the best trial", prints)
    best.add_argument("number", metavar="N", nargs="?", type=int, help="another trial's number")

    short = "a script with which a shell completes commands and flags"
    prints = f'Prints {short}. In ~/.bashrc: eval "$(lightning-hp completion bash)"'
    completion = commands.add_parser("completion", help=short, description=prints)
    completion.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def _add_configs(parser: argparse.ArgumentParser, nargs: str, ending: str = "") -> None:
    several = f"{_CONFIG_HELP}{ending}; of several, later ones overrule earlier ones"
    parser.add_argument("config", metavar="CONFIG", nargs=nargs, help=several)
    same = "the same, as LightningCLI has it"
    parser.add_argument("-c", "--config", metavar="CONFIG", action="append", default=[], dest="more_configs", help=same)
    parser.epilog = (
        "Flags of LightningCLI's fit, such as --trainer.max_epochs 3 or --model MyModel, overrule the files. Its environment "
        "variables, such as PL_FIT__TRAINER__MAX_EPOCHS, count as well with JSONARGPARSE_DEFAULT_ENV=true. A LightningCLI of "
        "your own is searched by lightning_hp.cli.search in your script, which takes lint, babysit, rerun and finish, too."
    )


def _add_request(commands: Any, kind: str, text: str) -> None:
    changes = " [lr=x0.5] [momentum=0.95]" if kind == "nudge" else ""
    description = f"{text[0].upper()}{text[1:]}. {_REQUEST_HELP} {_MORE_HELP.get(kind, '')}"
    parser = _add(commands, kind, text, description, "the study's folder, or that of a single babysat fit")
    parser.usage = f"lightning-hp {kind} DIR [N]{changes} [options]"
    parser.set_defaults(kind=kind)
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
    settings = {"search": {**SEARCH_FLAGS, **SETTINGS}, "babysit": BABYSIT_SETTINGS}.get(command, {})
    own = {
        "show": ["--json", "--csv", "--all", "--sort", "--reverse", "--filter"],
        "report": ["--open"],
        "rerun": ["--tolerance"],
    }.get(command, [])
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
        # As the key is written in the config.
        others = ([f"--{name}"] if "_" in name else []) + ([f"--{_DOTTED}{name}"] if name in SETTINGS else [])
        if others:
            parser.add_argument(*others, **form, help=argparse.SUPPRESS)


def _value(text: str) -> Any:
    try:
        return parse_value(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
