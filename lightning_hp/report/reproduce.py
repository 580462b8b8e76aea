"""How to have a trial again: the commands, the Python, and all that decided its result."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_hp.description import label
from lightning_hp.report.nameless import program
from lightning_hp.report.searched import Searched
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
        *_rerun(searched, trial, root),
        ("Its hyperparameters as a config:", f"lightning-hp best {root}"),
        ("By hand, in full precision:", _by_hand(trial, str(name) if isinstance(name, str) else "model")),
        *_weights(trial),
    ]
    decides = {"seed of the trial": trial.seed, "seed of the search": searched.asked.get("seed")}
    decides |= {key: searched.asked.get(key) or None for key in ("strategy", "pruner", "babysit", "trainer")}
    decides["trained on"] = searched.machines.get(trial.number)
    rows = [f"{key:<20}{value}" for key, value in decides.items() if value is not None]
    return [*told, ("What else decides the result:", "\n".join(rows))]


def _rerun(searched: Searched, trial: Trial, root: str) -> Iterator[tuple[str, str]]:
    """The command, or the Python where no other process can import what the search was made of."""
    begin = program(searched.config)
    if begin is None:
        yield (
            "Train it once more, with the same seeds, and compare, in the script of the search:",
            f"loop.rerun({trial.number})",
        )
    else:
        yield "Train it once more, with the same seeds, and compare:", f"{begin} rerun {root} {trial.number}"


def _weights(trial: Trial) -> Iterator[tuple[str, str]]:
    if trial.checkpoint is not None:
        loaded = f"torch.load({str(trial.checkpoint)!r}, weights_only=False)"
        yield (
            "Its weights, into that model; in the script of a search, model = loop.run().best.load() does both:",
            f'model.load_state_dict({loaded}["state_dict"])',
        )


def _by_hand(trial: Trial, model: str) -> str:
    parts = split(trial.hparams)
    calls = [(model, parts["model"]), ("data", parts["data"]), ("Trainer", parts["trainer"])]
    return "\n".join(_call(name, given) for name, given in calls if given)


def _call(name: str, given: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={label(value)!r}' for key, value in given.items())})"
