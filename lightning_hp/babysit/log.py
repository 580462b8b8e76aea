"""The record of interventions: babysit.jsonl, and the loggers' curves and texts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from lightning_hp.babysit.policy import Knobs

FILE = "babysit.jsonl"


@dataclass(frozen=True)
class Intervention:
    """One change to a running fit.

    Attributes:
        epoch: in which it was made.
        step: the optimizer step before which it was made.
        reason: why, in a sentence.
        before: lr and momentum of each parameter group before, numbered through all optimizers.
        after: the same after.
    """

    epoch: int
    step: int
    reason: str
    before: list[Knobs]
    after: list[Knobs]

    def sentence(self) -> str:
        """The intervention in words.

        >>> Intervention(3, 90, "no progress", [Knobs(0.1, 0.9)], [Knobs(0.05, 0.95)]).sentence()
        'no progress: lr 0.1 -> 0.05, momentum 0.9 -> 0.95'
        """
        changes = [_change("lr", [knobs.lr for knobs in self.before], [knobs.lr for knobs in self.after])]
        changes.append(_change("momentum", [knobs.momentum for knobs in self.before], [knobs.momentum for knobs in self.after]))
        return f"{self.reason}: {', '.join(change for change in changes if change)}"


def read(file: Path) -> list[Intervention]:
    """The interventions in a babysit.jsonl; none where there is no such file."""
    return [_parsed(line) for line in _lines(file)]


def append(intervention: Intervention, file: Path) -> None:
    """Adds a line to a babysit.jsonl.

    Raises:
        OSError: it can't be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        opened.write(json.dumps(_plain(asdict(intervention)), allow_nan=False) + "\n")


def rewind(file: Path, step: int) -> None:
    """Drops the interventions from a step on: a fit that goes on from there, or starts anew, makes them again.

    Raises:
        OSError: it can't be written.
    """
    if not file.exists():
        return
    kept = "".join(f"{line}\n" for line in _lines(file) if json.loads(line)["step"] < step)
    # Killed half-way, this leaves the old file or the new one.
    rewritten = file.with_suffix(".tmp")
    rewritten.write_text(kept)
    rewritten.replace(file)


def show(intervention: Intervention, loggers: Sequence[Logger]) -> None:
    """Gives lr, momentum and the sentence to the loggers. TensorBoard gets the sentence as text, others only the curves."""
    curves = {}
    for index, knobs in enumerate(intervention.after):
        suffix = f"/group{index}" if len(intervention.after) > 1 else ""
        curves[f"babysit/lr{suffix}"] = knobs.lr
        if knobs.momentum is not None:
            curves[f"babysit/momentum{suffix}"] = knobs.momentum
    for logger in loggers:
        logger.log_metrics(curves, step=intervention.step)
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("babysit", intervention.sentence(), intervention.step)


def _lines(file: Path) -> list[str]:
    # A process that is killed while it writes leaves a line without its end.
    return file.read_text().split("\n")[:-1] if file.exists() else []


def _parsed(line: str) -> Intervention:
    record = json.loads(line)
    return Intervention(**{**record, **{when: [_knobs(**group) for group in record[when]] for when in ("before", "after")}})


def _knobs(lr: float | str, momentum: float | str | None) -> Knobs:
    return Knobs(float(lr), None if momentum is None else float(momentum))


def _plain(value: Any) -> Any:
    """The value with infinities and NaN as strings, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _change(name: str, before: Sequence[float | None], after: Sequence[float | None]) -> str:
    if list(before) == list(after):
        return ""
    return f"{name} {_listed(before)} -> {_listed(after)}"


def _listed(values: Sequence[float | None]) -> str:
    return ", ".join("none" if value is None else f"{value:.4g}" for value in values)
