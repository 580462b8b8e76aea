"""What finished trials say, printed: all of it by ``show``, in short at the end of ``search``."""

from __future__ import annotations

import math
from pathlib import Path

import yaml
from rich.console import Console
from rich.text import Text

from lightning_hp.advice import Findings, advice
from lightning_hp.cli.table import print_line
from lightning_hp.report.nameless import program, zoom_command, zoom_in_python
from lightning_hp.space import Space
from lightning_hp.study.config import read_config

# What `search` tells besides which hyperparameters matter.
_BRIEF = ("widen", "diverges", "trials")


def print_findings(findings: Findings, console: Console, root: Path) -> None:
    """Prints the advice, and the space to search next if it is another one.

    Args:
        findings: of a study.
        console: where to.
        root: the study's folder.
    """
    lines = advice(findings)
    if not lines:
        return
    print_line(console, "\nwhat the trials say")
    for each in lines:
        _print_item(console, str(each))
    space = findings.next_space
    if dict(space) != dict(findings.space):
        begin = program(read_config(root))
        named = ", search.space of a config" if begin is not None else ""
        print_line(console, f"\nthe space to search next{named}")
        for line in as_yaml(space):
            print_line(console, f"    {line}")
        if begin is not None:
            print_line(console, f"search it:       {zoom_command(root, begin)}")
        print_line(console, f"in Python: {zoom_in_python(root)}")


def print_briefly(findings: Findings, console: Console, root: Path) -> None:
    """Prints what to do and which hyperparameters matter, if the trials say so, and how to go on."""
    lines = [str(each) for each in advice(findings) if each.kind in _BRIEF]
    important = {name: each for name, each in findings.importance.items() if each.matters}
    if important:
        ranked = sorted(important, key=lambda name: -important[name].share)
        lines.append(f"what matters: {', '.join(f'{name} ({important[name].share:.0%})' for name in ranked)}")
    for line in lines:
        _print_item(console, line)
    if dict(findings.next_space) != dict(findings.space):
        # What its config names in a script is there for the script that has just searched it.
        begin = program(read_config(root)) or "python SCRIPT"
        print_line(console, f"search it:       {zoom_command(root, begin)}")


def as_yaml(space: Space) -> list[str]:
    """A space as the lines of a config.

    >>> from lightning_hp import Log
    >>> as_yaml(Space({"model.lr": Log(1e-3, 0.1)}))
    ['model.lr: {scale: log, low: 0.001, high: 0.1}']
    """
    return [
        f"{name}: {yaml.safe_dump(each, default_flow_style=True, width=math.inf, sort_keys=False).strip()}"
        for name, each in space.describe().items()
    ]


def _print_item(console: Console, line: str) -> None:
    """A line that is folded at words, what follows set in."""
    for index, part in enumerate(Text(line).wrap(console, max(console.width - 2, 1))):
        console.print(Text("- " if index == 0 else "  ") + part, soft_wrap=True)
