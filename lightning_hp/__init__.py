"""Hyperparameter search and babysitting for PyTorch Lightning models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_hp.errors import ConfigError, LightningHPError, MonitorError, SearchStoppedError, StorageError
from lightning_hp.executors.ray import RayCluster
from lightning_hp.pruners import Asha, Halving, Progressive
from lightning_hp.samplers import CoarseToFine, Grid, OptunaSampler, Quasi, Random
from lightning_hp.space import Space
from lightning_hp.space.scales import Choice, Int, Linear, Log, LogInt, ReverseLog
from lightning_hp.study import Study
from lightning_hp.trial import Trial

if TYPE_CHECKING:
    from lightning_hp.babysit import Babysitter
    from lightning_hp.loop import SearchLoop

__version__ = "0.1.0"
__all__ = [
    "Asha",
    "Babysitter",
    "Choice",
    "CoarseToFine",
    "ConfigError",
    "Grid",
    "Halving",
    "Int",
    "LightningHPError",
    "Linear",
    "Log",
    "LogInt",
    "MonitorError",
    "OptunaSampler",
    "Progressive",
    "Quasi",
    "Random",
    "RayCluster",
    "ReverseLog",
    "SearchLoop",
    "SearchStoppedError",
    "Space",
    "StorageError",
    "Study",
    "Trial",
]

# These two import torch and Lightning, which takes seconds: only when they are used.
_HEAVY = {"Babysitter": "lightning_hp.babysit", "SearchLoop": "lightning_hp.loop"}


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(_HEAVY[name])
    except AttributeError as error:
        # `from lightning_hp import SearchLoop` would say of it only that the name cannot be imported.
        raise ImportError(f"{_HEAVY[name]} cannot be imported: {error}") from error
    # Found at once from now on, by tools that read the module's names as well.
    found = globals()[name] = getattr(module, name)
    return found
