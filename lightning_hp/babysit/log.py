"""The record of interventions: babysit.jsonl, and the loggers' curves and texts."""

from __future__ import annotations

import json
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
    if not file.exists():
        return []
    return [_parsed(json.loads(line)) for line in file.read_text().splitlines()]


def write(intervention: Intervention, folder: Path, loggers: Sequence[Logger]) -> None:
    """Appends to babysit.jsonl, and gives lr, momentum and the sentence to the loggers.

    TensorBoard gets the sentence as text; other loggers get the curves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a") as file:
        file.write(json.dumps(asdict(intervention)) + "\n")
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


def _parsed(record: dict[str, Any]) -> Intervention:
    groups = {when: [Knobs(**knobs) for knobs in record[when]] for when in ("before", "after")}
    return Intervention(**{**record, **groups})


def _change(name: str, before: Sequence[float | None], after: Sequence[float | None]) -> str:
    if list(before) == list(after):
        return ""
    return f"{name} {_listed(before)} -> {_listed(after)}"


def _listed(values: Sequence[float | None]) -> str:
    return ", ".join("none" if value is None else f"{value:.4g}" for value in values)
