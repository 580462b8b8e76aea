"""An assembly's model, data and Trainer arguments, as `SearchLoop` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonargparse import Namespace

from lightning_hp.cli.assembly import Assembly
from lightning_hp.cli.hooks import Hooks
from lightning_hp.space import Hparams


class Made:
    """Makes the model or the data of a config.

    Args:
        assembly: of the config.
        key: ``model`` or ``data``.
    """

    takes_all = True

    def __init__(self, assembly: Assembly, key: str) -> None:
        self.assembly = assembly
        self.key = key
        section = assembly.given.get(key)
        named = section.get("class_path") if isinstance(section, Mapping) else None
        made = assembly.cli._model_class if key == "model" else assembly.cli._datamodule_class
        self.class_path = str(named or f"{made.__module__}.{made.__qualname__}")
        self.__qualname__ = self.class_path

    def __call__(self, **hparams: Any) -> Any:
        return self.assembly.model(hparams) if self.key == "model" else self.assembly.data(hparams)

    def describe(self) -> Any:
        """As a class, or a partial of it with these arguments, is described in Python: it is the same search."""
        section = self.assembly.given.get(self.key) or {}
        given = {**section.get("init_args", {}), **section.get("dict_kwargs", {})} if "class_path" in section else section
        name = self.class_path.rpartition(".")[2]
        described = {name: given} if given else name
        others = self.assembly.others if self.key == "model" else {}
        return {"model": described, **others} if others else described


class TrainerArguments(dict[str, Any]):
    """The trainer section: plain arguments as they stand, objects as functions that make them. Called, those of a trial.

    Args:
        assembly: of the config.
        hparams: of the trial.
        searched: whether trials differ in them.
    """

    takes_all = True

    def __init__(self, assembly: Assembly, hparams: Hparams, searched: bool) -> None:
        self._assembly = assembly
        self._searched = searched
        for key, value in assembly.trainer(hparams).items():
            self[key] = _TrainerObject(assembly, hparams, key) if _names_class(value) else value
        if assembly.forces_callbacks:
            self["callbacks"] = _TrainerObject(assembly, hparams, "callbacks")

    def __call__(self, **hparams: Any) -> Mapping[str, Any]:
        return TrainerArguments(self._assembly, hparams, True) if self._searched else self


@dataclass(frozen=True)
class _TrainerObject:
    """Makes an object of the trainer section, or several, such as callbacks, as often as asked."""

    assembly: Assembly = field(repr=False)
    hparams: Hparams
    key: str

    def __call__(self) -> Any:
        made = self.assembly.trainer_object(self.hparams, self.key)
        if self.key != "callbacks":
            return made
        hooks = [Hooks(self.assembly, self.hparams)] if self.assembly.hooked else []
        listed = made if isinstance(made, list) else [made] if made is not None else []
        return [*listed, *self.assembly.forced_callbacks(self.hparams), *hooks]

    def describe(self) -> Any:
        return (self.assembly.given.get("trainer") or {}).get(self.key)


def _names_class(value: Any) -> bool:
    return any(map(_names_class, value)) if isinstance(value, list) else isinstance(value, Namespace) and "class_path" in value
