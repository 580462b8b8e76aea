"""A study as one of Optuna's, for its visualisations, its importances and its dashboard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_hp.errors import ConfigError
from lightning_hp.samplers.mirror import quiet
from lightning_hp.samplers.optuna import check_installed
from lightning_hp.space import Space
from lightning_hp.space.scales import Choice, Int, Log, LogInt, ReverseLog, Scale
from lightning_hp.trial import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

Times = Mapping[int, tuple[float, float | None]]


def optuna_study(
    root: Path,
    asked: Mapping[str, Any],
    trials: Sequence[Trial],
    times: Times,
    storage: str | BaseStorage | None = None,
    study_name: str | None = None,
) -> Study:
    """The finished trials of a study, as `lightning_hp.Study.to_optuna` says.

    Args:
        root: the study's folder.
        asked: what its search was asked for.
        trials: with hyperparameters as labels.
        times: when they began and ended, by number, in seconds since the epoch of the clock.
        storage: where Optuna keeps its study; None for memory.
        study_name: what it is called there; None for the folder's name.

    Raises:
        ConfigError: Optuna is not installed, cannot open the storage, or has another study of that name there.
    """
    check_installed()
    space = Space(asked["space"])
    distributions = {name: _distribution(scale) for name, scale in space.coordinates.items()}
    with quiet():
        study = _opened(root, asked, storage, study_name or root.resolve().name)
        there = {trial.user_attrs.get("number") for trial in study.get_trials(deepcopy=False)}
        for trial in trials:
            if trial.finished and trial.number not in there:
                study.add_trial(_frozen(trial, space, distributions, asked["monitor"], times[trial.number]))
    return study


def _opened(root: Path, asked: Mapping[str, Any], storage: str | BaseStorage | None, name: str) -> Study:
    import optuna

    source = {"root": str(root.resolve()), "monitor": asked["monitor"], "mode": asked["mode"]}
    names = _names(storage) if storage is not None else []
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="minimize" if asked["mode"] == "min" else "maximize",
        load_if_exists=True,
    )
    if name not in names:
        for key, value in source.items():
            study.set_user_attr(key, value)
        study.set_metric_names([asked["monitor"]])
    elif any(study.user_attrs.get(key) != value for key, value in source.items()):
        raise ConfigError(f"the storage has another study named {name!r}: give another study_name")
    return study


def _names(storage: Any) -> list[str]:
    """The studies that a storage has, which is opened for that. Raises ConfigError if Optuna cannot."""
    import optuna

    wanted = "a URL such as 'sqlite:///optuna.db', or one of Optuna's own"
    if not isinstance(storage, (str, optuna.storages.BaseStorage)):
        raise ConfigError(f"to_optuna(storage=) needs {wanted}, got {storage!r}")
    try:
        return optuna.study.get_all_study_names(storage)
    except Exception as error:
        # Of SQLAlchemy's messages the rest is a link.
        told = str(error).strip().partition("\n")[0]
        raise ConfigError(f"to_optuna(storage={storage!r}) is none that Optuna can open ({told}): it needs {wanted}") from error


def _frozen(
    trial: Trial,
    space: Space,
    distributions: dict[str, BaseDistribution],
    monitor: str,
    times: tuple[float, float | None],
) -> FrozenTrial:
    from optuna.trial import create_trial

    state = _state(trial)
    curve = trial.metrics.get(monitor, [])
    params = {name: _param(space.coordinates[name], value) for name, value in space.flat(trial.hparams).items()}
    frozen = create_trial(
        state=state,
        # Optuna refuses a failed trial that has a value.
        value=None if state.name == "FAIL" else trial.value,
        params=params,
        distributions={name: distributions[name] for name in params},
        intermediate_values={epoch: value for epoch, value in enumerate(curve) if value is not None},
        user_attrs=_notes(trial, space),
    )
    started, ended = times
    frozen.datetime_start = datetime.fromtimestamp(started)
    frozen.datetime_complete = datetime.fromtimestamp(started if ended is None else ended)
    return frozen


def _state(trial: Trial) -> Any:
    """Optuna's word for a trial's state. It has none for a diverged trial but failed: it has no value that would be true."""
    from optuna.trial import TrialState

    if trial.state == "pruned":
        return TrialState.PRUNED
    valued = trial.state == "complete" and trial.value is not None and not math.isnan(trial.value)
    return TrialState.COMPLETE if valued else TrialState.FAIL


def _notes(trial: Trial, space: Space) -> dict[str, Any]:
    """What Optuna has no place for."""
    notes = {
        "number": trial.number,
        "state": trial.state,
        "seed": trial.seed,
        "epochs": trial.epochs,
        "reason": trial.reason,
        "checkpoint": str(trial.checkpoint) if trial.checkpoint else None,
        # Optuna has no such scale, and lays these out by their value.
        **{
            f"{name} (unit)": scale.to_unit(value)
            for name, value in space.flat(trial.hparams).items()
            if isinstance(scale := space.coordinates[name], ReverseLog)
        },
    }
    return {key: value for key, value in notes.items() if value is not None}


def _distribution(scale: Scale) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(scale, Choice):
        return CategoricalDistribution(_choices(scale))
    bounds: Any = scale
    if isinstance(scale, (Int, LogInt)):
        return IntDistribution(bounds.low, bounds.high, log=isinstance(scale, LogInt))
    return FloatDistribution(bounds.low, bounds.high, log=isinstance(scale, Log))


def _param(scale: Scale, value: Any) -> Any:
    return _choices(scale)[int(scale.to_unit(value) * len(scale.values))] if isinstance(scale, Choice) else value


def _choices(scale: Choice) -> list[Any]:
    # To Optuna True and 1 are the same choice.
    alike = len(set(scale.values)) < len(scale.values)
    return [str(value) if alike else value for value in scale.values]
