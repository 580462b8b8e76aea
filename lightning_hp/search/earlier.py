"""What a search begins with: hyperparameters that the user wants tried first, and the trials of earlier studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lightning_hp.bounds import folder, is_list
from lightning_hp.description import name_of
from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.samplers.random import drawn
from lightning_hp.space import Hparams, Space
from lightning_hp.space.layout import Hyperparameter
from lightning_hp.study import Study
from lightning_hp.trial import Mode, Trial

# So often what a point leaves out is drawn again, until it goes with what the point has.
TRIES = 1000


def queue_of(space: Space, seed: int, points: Sequence[Mapping[str, Any]]) -> list[Hparams]:
    """The hyperparameters of the first trials, which the user gives. What a point leaves out is drawn at random.

    Raises:
        ConfigError: a name is not in the space or does not exist beside the others, a value is not on its scale, or a point
            breaks the constraint.
    """
    if not is_list(points):
        raise ConfigError(f"enqueue needs a list of hyperparameters, such as [{{'lr': 0.1}}], got {points!r}")
    return [_filled(space, seed, index, point) for index, point in enumerate(points)]


def earlier_roots(warm_start: Any) -> list[Path]:
    """The folders of earlier studies.

    Raises:
        ConfigError: they are none.
    """
    return [folder("warm_start", root) for root in (warm_start if is_list(warm_start) else [warm_start])]


def earlier_trials(space: Space, monitor: str, mode: Mode, roots: Sequence[Path]) -> list[Trial]:
    """The finished trials of earlier studies whose hyperparameters lie in the space, numbered below 0.

    Raises:
        ConfigError: a folder holds no study or one of another objective, or none of its trials fits the space.
    """
    found: list[Trial] = []
    for root in roots:
        study = Study(root)
        asked = study.asked
        if (asked["monitor"], asked["mode"]) != (monitor, mode):
            raise ConfigError(
                f"warm_start {root} has the objective {asked['monitor']} ({asked['mode']}), this search has {monitor} ({mode})"
            )
        fitting = [fit for trial in study.trials if trial.finished and (fit := _fitted(space, trial)) is not None]
        if not fitting:
            raise ConfigError(
                f"warm_start {root} has no finished trial in this space: with values for {', '.join(space)} within bounds"
            )
        found += fitting
    return [replace(trial, number=index - len(found), metrics={}) for index, trial in enumerate(found)]


def _filled(space: Space, seed: int, index: int, point: Any) -> Hparams:
    where = f"enqueue[{index}]"
    if not isinstance(point, Mapping):
        raise ConfigError(f"{where} needs hyperparameters by name, such as {{'lr': 0.1}}, got {point!r}")
    for name in point:
        if name not in space:
            raise ConfigError(f"{where}[{name!r}] is not in the space{did_you_mean(str(name), space)}")
    point = {name: _listed(value) if space.layout[name].counter is not None else value for name, value in point.items()}
    # What is given may exist only beside some of what is drawn.
    tries = TRIES if space.conditional or space.constraint is not None else 1
    problem = ""
    for filled in islice(drawn(space, seed, index, point), tries):
        try:
            space.to_unit([filled])
        except ValueError as error:
            problem = f": {error}"
        else:
            if space.constraint is None or space.allows(filled):
                return {name: _own(space.layout[name], value) for name, value in filled.items()}
            problem = f" breaks the constraint {name_of(space.constraint)}: {filled!r}"
        if filled.keys() == point.keys():
            break
    raise ConfigError(f"{where}{problem}")


def _listed(value: Any) -> Any:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return list(value) if is_list(value) else value


def _own(each: Hyperparameter, value: Any) -> Any:
    return [each.scale.own(one) for one in value] if each.counter is not None else each.scale.own(value)


def _fitted(space: Space, trial: Trial) -> Trial | None:
    """A trial with its hyperparameters as this space has them; None if they are not in it."""
    try:
        hparams = space.from_labels({name: trial.hparams[name] for name in space if name in trial.hparams})
        space.to_unit([hparams])
    except (KeyError, TypeError, ValueError):
        return None
    return replace(trial, hparams=hparams) if space.allows(hparams) else None
