"""How to have a trial again: the commands, the Python, and all that decided its result."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from lightning_hp.report.searched import Searched
from lightning_hp.scales import label
from lightning_hp.space import split
from lightning_hp.trial import Trial


def lines(searched: Searched, trial: Trial) -> list[tuple[str, str]]:
    """What each block of lines does, and the lines.

    Args:
        searched: the study.
        trial: of it.
    """
    root, name = shlex.quote(str(searched.root)), searched.asked.get("model") or "model"
    told = [
        ("Train it once more, with the same seeds, and compare:", f"lightning-hp rerun {root} {trial.number}"),
        ("Its hyperparameters as a config:", f"lightning-hp best {root}"),
        ("Its weights, in the script of the search, whose loop.run() trains nothing again:", "model = loop.run().best.load()"),
        ("By hand, in full precision:", _by_hand(trial, str(name) if isinstance(name, str) else "model")),
    ]
    decides = {"seed of the trial": trial.seed, "seed of the search": searched.asked.get("seed")}
    decides |= {key: searched.asked.get(key) or None for key in ("strategy", "pruner", "babysit", "trainer")}
    rows = [f"{key:<20}{value}" for key, value in decides.items() if value is not None]
    return [*told, ("What else decides the result:", "\n".join(rows))]


def _by_hand(trial: Trial, model: str) -> str:
    parts = split(trial.hparams)
    calls = [(model, parts["model"]), ("data", parts["data"]), ("Trainer", parts["trainer"])]
    return "\n".join(_call(name, given) for name, given in calls if given)


def _call(name: str, given: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={label(value)!r}' for key, value in given.items())})"
