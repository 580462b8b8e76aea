"""What all trials of a search share, and how a trial's model, data and Trainer are made from it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch._dynamo import OptimizedModule
from torch.utils.data import DataLoader, Dataset

from lightning_hp.babysit import Babysitter
from lightning_hp.description import name_of
from lightning_hp.errors import ConfigError, did_you_mean
from lightning_hp.fit.in_common import tell_parts_in_common
from lightning_hp.fit.sharing import own_copy, own_factory
from lightning_hp.fit.trainer import check_trainer, unwise
from lightning_hp.signature import arguments, check_call
from lightning_hp.space import Hparams, Space, split
from lightning_hp.trial import Mode

LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Recipe:
    """Everything that a fit needs besides its trial. Checked when made.

    Args:
        model: a LightningModule class, or any callable(**hparams) -> LightningModule.
        space: the scales; every name of it must be an argument of what will receive it.
        data: a LightningDataModule class or callable, an instance, of which each trial gets a copy, or a callable -> loaders;
            None if the model has its own.
        trainer: keyword arguments of Trainer. Callables in it (and in its lists) are factories, called once a trial.
        monitor: the logged metric that is the objective.
        mode: ``min`` or ``max``.
        seed: the study's.
        root: the study's folder.
        keep_checkpoints: how many trials of the search keep theirs; None for all.
        babysitter: whose copy watches each trial, or None.

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
    keep_checkpoints: int | None = None
    babysitter: Babysitter | None = None

    def __post_init__(self) -> None:
        if isinstance(self.model, LightningModule):
            raise ConfigError(
                f"model needs a LightningModule class or a function that makes one, got a {name_of(type(self.model))} that is "
                "made already: each trial builds its own"
            )
        if not callable(self.model):
            raise ConfigError(f"model needs a LightningModule class or a function that makes one, got {self.model!r}")
        for name, made, wanted in (("model", self.model, LightningModule), ("data", self.data, LightningDataModule)):
            kind = made if isinstance(made, type) else type(made)
            if foreign := _foreign(kind):
                raise ConfigError(f"{name} got {name_of(kind)}, which is none of lightning.pytorch{foreign}")
            # One with a __new__ of its own may give anything.
            if made is kind and not issubclass(kind, wanted) and kind.__new__ is object.__new__:
                raise ConfigError(f"{name} got the class {name_of(kind)}, which is no {wanted.__name__}")
        if not isinstance(self.mode, str) or self.mode not in ("min", "max"):
            raise ConfigError(f"mode needs 'min' or 'max', got {self.mode!r}{did_you_mean(str(self.mode), ('min', 'max'))}")
        if isinstance(self.monitor, (list, tuple, set)):
            raise ConfigError(
                f"monitor needs the name of one logged metric, got {self.monitor!r}: a search has one objective; log what "
                "weighs the metrics against each other as a metric of its own"
            )
        if not isinstance(self.monitor, str) or not self.monitor:
            raise ConfigError(f"monitor needs the name of a logged metric, such as 'val_loss', got {self.monitor!r}")
        if not (self.data is None or callable(self.data) or isinstance(self.data, LightningDataModule)):
            raise ConfigError(
                f"data needs a LightningDataModule (class or instance) or a function that returns (train, val) loaders, "
                f"got {_shown(self.data)}"
            )
        names = split({name: name for name in self.space})
        if not takes_all(self.model):
            self._check_names(names)
        if self.data is None:
            _check_own_loaders(self.model)
        if isinstance(self.trainer, Mapping) and not takes_all(self.trainer):
            plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in self.trainer.items()}
            object.__setattr__(self, "trainer", plain)
        check_trainer(self.trainer, names["trainer"])
        if not takes_all(self.trainer):
            self._check_searched(names["trainer"])

    def _check_searched(self, names: dict[str, str]) -> None:
        """Checks the ends, or all the choices, of what trials choose of the Trainer's arguments."""
        for argument, name in names.items():
            for value in self.space.layout[name].scale.grid(2):
                try:
                    check_trainer({**self.trainer, argument: value}, ())
                except ConfigError as error:
                    raise ConfigError(f"space[{name!r}] has {value!r}: {error}") from None

    def _check_names(self, names: dict[str, dict[str, str]]) -> None:
        sometimes = self.space.sometimes
        check_call(self.model, names["model"], sometimes, self._elsewhere())
        if callable(self.data):
            check_call(self.data, names["data"], sometimes)
        elif names["data"]:
            given = "an instance, which is made already" if self.data is not None else "nothing"
            name = next(iter(names["data"].values()))
            raise ConfigError(f"space[{name!r}] needs data= to be a class or a function that takes it, got {given}")
        check_call(Trainer, names["trainer"])

    def _elsewhere(self) -> Iterator[str]:
        """Names in a space that would go to the data or the Trainer, found where they are asked for."""
        for target, made in (("data", self.data), ("trainer", Trainer)):
            if callable(made):
                yield from (f"{target}.{each}" for each in sorted(arguments(made)[0]))

    @property
    def unwise(self) -> list[str]:
        """What is unwise in the Trainer's arguments, one line each."""
        return unwise(self.trainer, split({name: name for name in self.space})["trainer"])

    @property
    def accelerator(self) -> str:
        """The Trainer's accelerator, ``"auto"`` unless the user says which."""
        return str(self.trainer.get("accelerator", "auto"))

    @property
    def devices(self) -> int:
        """How many devices a trial trains on."""
        asked = self.trainer.get("devices", 1)
        return 1 if asked == "auto" else int(asked)

    def max_epochs(self, hparams: Hparams) -> int | None:
        """How many epochs a trial has at most; None if that is open."""
        asked = self.trainer_settings(hparams).get("max_epochs")
        return asked if isinstance(asked, int) and asked > 0 else None

    def max_steps(self, hparams: Hparams) -> int | None:
        """How many optimizer steps a trial has at most; None if only its epochs tell."""
        asked = self.trainer_settings(hparams).get("max_steps")
        return asked if isinstance(asked, int) and asked > 0 else None

    def trainer_settings(self, hparams: Hparams) -> dict[str, Any]:
        """A trial's arguments of Trainer."""
        own = split(hparams)["trainer"]
        return {**self.trainer, **(self.trainer(**hparams) if takes_all(self.trainer) else own)}

    def make_model(self, hparams: Hparams) -> LightningModule:
        """A trial's model."""
        given = hparams if takes_all(self.model) else split(hparams)["model"]
        # One trial after another would change what is among the choices or comes with the function: a backbone, a list.
        model = own_factory(self.model)(**copy.deepcopy(given))
        if not isinstance(model, LightningModule):
            way_out = (
                ": compile it in its place, model.compile()" if isinstance(model, OptimizedModule) else _foreign(type(model))
            )
            returned = f"a {type(model).__qualname__}, not a LightningModule{way_out}"
            raise TypeError(f"{name_of(self.model)} returned {returned}")
        if self.data is None and not is_overridden("train_dataloader", model):
            raise TypeError(_no_data(type(model).__qualname__))
        tell_parts_in_common(model)
        return model

    def make_data(self, hparams: Hparams) -> dict[str, Any]:
        """A trial's data as keyword arguments of ``Trainer.fit``."""
        if self.data is None:
            return {}
        given = hparams if takes_all(self.data) else split(hparams)["data"]
        # In one process a trial would see what those before it have done to an instance.
        made = self.data(**given) if callable(self.data) else own_copy(self.data)
        if isinstance(made, LightningDataModule):
            return {"datamodule": made}
        if isinstance(made, tuple) and len(made) == 2:
            return {"train_dataloaders": made[0], "val_dataloaders": made[1]}
        returned = "None" if made is None else f"a {type(made).__qualname__}"
        raise TypeError(
            f"{name_of(self.data)} returned {returned}, not a LightningDataModule or a tuple (train, val) of loaders"
            f"{_foreign(type(made))}"
        )


@runtime_checkable
class TakesAll(Protocol):
    """A factory of the model, the data or the Trainer's arguments that wants all of a trial's hyperparameters, by full name.

    For those whose parts hang together, such as what a LightningCLI makes, where one argument may be linked to another.
    """

    takes_all: bool

    def __call__(self, **hparams: Any) -> Any: ...


def takes_all(factory: Any) -> TypeGuard[TakesAll]:
    """Whether a factory is one that takes all of a trial's hyperparameters, and checks by itself that it does."""
    return isinstance(factory, TakesAll) and factory.takes_all is True


def _check_own_loaders(model: Callable[..., Any]) -> None:
    """Raises ConfigError where a module is given no data and has none. What a function will return is not known yet."""
    made = model.func if isinstance(model, partial) else model
    if not (isinstance(made, type) and issubclass(made, LightningModule)):
        return
    if made.train_dataloader is LightningModule.train_dataloader:
        raise ConfigError(_no_data(name_of(model)))


def _no_data(model: str) -> str:
    return (
        f"{model} has no train_dataloader, and no data is given: give data=, a LightningDataModule (class or instance) or a "
        "function that returns (train, val) loaders"
    )


def _shown(data: Any) -> str:
    """What was given as data, as far as it fits into a line."""
    parts = data if isinstance(data, (tuple, list)) else [data]
    if parts and all(isinstance(each, DataLoader) for each in parts):
        return "loaders that are made already: each trial asks for its own, as by lambda: (train_loader, val_loader)"
    if isinstance(data, Dataset):
        return f"a {type(data).__qualname__}, which is a data set: its loaders are needed"
    shown = repr(data)
    return shown if len(shown) <= LONGEST_SHOWN and "\n" not in shown else f"a {type(data).__qualname__}"


def _foreign(kind: type) -> str:
    """What to do about a class of the other package that has Lightning's name; empty for any other."""
    if not any(base.__module__.startswith("pytorch_lightning") for base in kind.__mro__):
        return ""
    return (
        "; it comes from the package pytorch_lightning: import from lightning.pytorch, which is used here. For a library's, "
        "begin the script with: import sys, lightning.pytorch; sys.modules['pytorch_lightning'] = lightning.pytorch"
    )
