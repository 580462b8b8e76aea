"""What all trials of a search share, and how a trial's model, data and Trainer are made from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy

from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.fit.signature import arguments, check_call, name_of
from lightning_hp.space import Hparams, Space, route
from lightning_hp.trial import Mode

# Set for each trial by the search itself.
_OWN_TRAINER_KEYS = {"default_root_dir": "every trial has its own folder under root_dir"}


@dataclass(frozen=True)
class Recipe:
    """Everything that a fit needs besides its trial. Checked when made.

    Args:
        model: a LightningModule class, or any callable(**hparams) -> LightningModule.
        space: the scales; every name of it must be an argument of what will receive it.
        data: a LightningDataModule class or callable, an instance, or a callable -> loaders; None if the model has its own.
        trainer: keyword arguments of Trainer. Callables in it (and in its lists) are factories, called once a trial.
        monitor: the logged metric that is the objective.
        mode: ``min`` or ``max``.
        seed: the study's.
        root: the study's folder.
        babysitter: makes a Babysitter for each trial, or None.

    Raises:
        ConfigError: an argument is of the wrong kind, or a name of the space is no argument of the model, data or Trainer, or
            a required argument is not given.
    """

    model: Callable[..., LightningModule]
    space: Space
    monitor: str
    mode: Mode
    root: Path
    data: Any = None
    trainer: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    babysitter: Callable[[], Callback] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.model, LightningModule):
            raise ConfigError(
                f"model needs a LightningModule class or a function that makes one, got a {name_of(type(self.model))} that is "
                "made already: each trial builds its own"
            )
        if not callable(self.model):
            raise ConfigError(f"model needs a LightningModule class or a function that makes one, got {self.model!r}")
        if not isinstance(self.mode, str) or self.mode not in ("min", "max"):
            raise ConfigError(f"mode needs 'min' or 'max', got {self.mode!r}")
        if not isinstance(self.monitor, str) or not self.monitor:
            raise ConfigError(f"monitor needs the name of a logged metric, such as 'val_loss', got {self.monitor!r}")
        if not (self.data is None or callable(self.data) or isinstance(self.data, LightningDataModule)):
            raise ConfigError(
                f"data needs a LightningDataModule (class or instance) or a function that returns loaders, got {self.data!r}"
            )
        _check_trainer(self.trainer)
        self._check_names()

    def _check_names(self) -> None:
        names: dict[str, dict[str, str]] = {"model": {}, "data": {}, "trainer": {}}
        for name in self.space:
            target, argument = route(name)
            names[target][argument] = name
        check_call(self.model, names["model"])
        if callable(self.data):
            check_call(self.data, names["data"])
        elif names["data"]:
            given = "an instance, which is made already" if self.data is not None else "nothing"
            name = next(iter(names["data"].values()))
            raise ConfigError(f"space[{name!r}] needs data= to be a class or a function that takes it, got {given}")
        check_call(Trainer, names["trainer"])

    def trial_folder(self, number: int) -> Path:
        """The folder of a trial, named by its number only: no user text becomes a path."""
        return self.root / "trials" / f"{number:06d}"

    def make_model(self, hparams: Hparams) -> LightningModule:
        model = self.model(**hparams)
        if not isinstance(model, LightningModule):
            hint = ""
            if any(base.__module__.startswith("pytorch_lightning") for base in type(model).__mro__):
                hint = "; it comes from the package pytorch_lightning: import from lightning.pytorch, which is used here"
            raise TypeError(f"{name_of(self.model)} returned a {type(model).__qualname__}, not a LightningModule{hint}")
        return model

    def make_data(self, hparams: Hparams) -> dict[str, Any]:
        """The data as keyword arguments of ``Trainer.fit``."""
        made = self.data(**hparams) if callable(self.data) else self.data
        if made is None:
            return {}
        if isinstance(made, LightningDataModule):
            return {"datamodule": made}
        if isinstance(made, tuple) and len(made) == 2:
            return {"train_dataloaders": made[0], "val_dataloaders": made[1]}
        returned = f"{name_of(self.data)} returned a {type(made).__qualname__}"
        raise TypeError(f"{returned}, not a LightningDataModule or (train, val) loaders")


def trainer_kwargs(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of Trainer with every factory called, so that no two fits share a callback or logger.

    Returns:
        ``callbacks`` and ``plugins`` are always lists; ``logger`` is False or a list of the loggers wanted besides our own;
        ``devices`` is never ``"auto"``, which would take all there are.
    """
    made = {key: _made(value) for key, value in trainer.items()}
    if made.get("devices") == "auto":
        made["devices"] = 1
    logger = made.get("logger")
    made["callbacks"] = _listed(made.get("callbacks"))
    made["plugins"] = _listed(made.get("plugins"))
    made["logger"] = False if logger is False else _listed(None if logger is True else logger)
    return made


def _made(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_made(each) for each in value]
    return value() if callable(value) else value


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    if not isinstance(trainer, Mapping):
        raise ConfigError(f"trainer needs a dict of Trainer arguments, such as {{'max_epochs': 10}}, got {trainer!r}")
    known, _, _ = arguments(Trainer)
    for key, value in trainer.items():
        if key not in known:
            raise ConfigError(f"trainer[{key!r}] is not an argument of Trainer{did_you_mean(str(key), known)}")
        if key in _OWN_TRAINER_KEYS:
            raise ConfigError(f"trainer[{key!r}] cannot be set in a search: {_OWN_TRAINER_KEYS[key]}")
        for each in value if isinstance(value, (list, tuple)) else [value]:
            _check_not_shared(key, each)
    if trainer.get("barebones"):
        raise ConfigError("trainer['barebones']=True turns off the callbacks and loggers that a search needs: leave it out")
    if not _one_device(trainer.get("devices", 1)):
        raise ConfigError(f"trainer['devices'] needs 1 or 'auto', since a trial runs on one device, got {trainer['devices']!r}")


def _one_device(devices: Any) -> bool:
    return devices in ("auto", "1", 1) or (isinstance(devices, (list, tuple)) and len(devices) == 1)


def _check_not_shared(key: str, value: Any) -> None:
    if isinstance(value, (Callback, Logger, Strategy, Profiler)):
        name = type(value).__qualname__
        raise ConfigError(
            f"trainer[{key!r}] holds a {name} that all trials would share: give a function that makes one, lambda: {name}(...)"
        )
    if callable(value):
        required = {
            each.name
            for each in inspect.signature(value).parameters.values()
            if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        }
        if required:
            raise ConfigError(
                f"trainer[{key!r}] holds {name_of(value)}, which is called without arguments for each trial but requires "
                f"{', '.join(map(repr, sorted(required)))}: wrap it, lambda: {name_of(value)}(...)"
            )
