"""Objects in checkpoints: what a module saves besides tensors and plain values, by its own hook or as hyperparameters.

Encoders, losses, classes, what a data set was made with: to read one back may run any code, so nothing here does. They are
written closed, for those to open who trust the file: ``load_from_checkpoint(path, weights_only=False)``. A fit that goes on,
and a model that is loaded, take what their own module would save, made by the same factory of the same hyperparameters.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from lightning_hp.fit.safe import Closed, first_refused

# Where Lightning keeps what save_hyperparameters has saved, of the module and of the datamodule.
HPARAMS = ("hyper_parameters", "datamodule_hyper_parameters")
_HPARAMS_NAMES = ("hparams_name", "datamodule_hparams_name")
# What a model is made of.
MODEL = frozenset({"epoch", "global_step", "pytorch-lightning_version", "state_dict", *HPARAMS, *_HPARAMS_NAMES})
# What is for going on with a fit: Lightning's own, and what its callback for averaged weights adds.
_FIT = frozenset({"loops", "callbacks", "optimizer_states", "lr_schedulers", "current_model_state", "averaging_state"})
# Where a checkpoint says what its closed objects were like.
_PRINTS = "closed_objects"


class Objects:
    """Those of one fit's module, from its beginning to its end.

    Attributes:
        trainer: of the fit.
    """

    def __init__(self) -> None:
        self.trainer: Trainer | None = None
        self._began: dict[str, str] = {}

    def begin(self) -> None:
        """Notes what they are like before anything trains."""
        if self._saves():
            # One that needs what training brings has none yet.
            with suppress(Exception):
                self._began = self._fingerprints(self._own(self._asked()))

    def to_go_on(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """A checkpoint to go on from. Objects that have changed since the fit began, with which none could, are left open."""
        added = self._own(checkpoint)
        prints = self._fingerprints(added)
        if not prints:
            # Its hyperparameters are of no use then, and without them anyone reads it.
            return _plain(checkpoint)
        changed = {path for path, found in prints.items() if found != self._began.get(path)}
        closed = _changed(added, _is_object, lambda path, value: value if path in changed else Closed(value))
        return {**checkpoint, **closed, **_whole_hparams(checkpoint), _PRINTS: prints}

    def of_model(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """What is `kept`, as a file has it. Where objects are among it, it is whole."""
        model = self.kept(checkpoint)
        if not _objects({key: value for key, value in model.items() if key != "state_dict"}):
            return _plain(model)
        added = self._own(checkpoint)
        closed = _changed(added, _is_object, lambda path, value: Closed(value))
        prints = self._fingerprints(added)
        return {**model, **closed, **_whole_hparams(checkpoint), **({_PRINTS: prints} if prints else {})}

    def kept(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """What of a checkpoint is the model, and what its module has added."""
        return {key: value for key, value in checkpoint.items() if key in MODEL} | self._own(checkpoint)

    def opened(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """A checkpoint with those of the fit's module in the place of closed ones.

        Raises:
            LookupError: the module would not save one that is closed there.
        """
        return _replaced(checkpoint, self._asked()) if _PRINTS in checkpoint else checkpoint

    def _fingerprints(self, added: dict[str, Any]) -> dict[str, str]:
        """Of the objects in what the module has added to a checkpoint."""
        objects = _objects(added)
        return fingerprints(objects, self.module) if objects else {}

    @property
    def module(self) -> LightningModule:
        """That is trained."""
        assert self.trainer is not None
        return self.trainer.lightning_module

    def _saves(self) -> bool:
        return self.trainer is not None and is_overridden("on_save_checkpoint", self.module)

    def _asked(self) -> dict[str, Any]:
        assert self.trainer is not None
        checkpoint: dict[str, Any] = self.trainer._checkpoint_connector.dump_checkpoint(weights_only=True)
        return checkpoint

    def _own(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """What is in a checkpoint because its module has put it there."""
        if not self._saves():
            return {}
        assert self.trainer is not None
        others = {type(each).__qualname__ for each in (self.trainer.datamodule, self.trainer.precision_plugin)}  # type: ignore[attr-defined]
        return {key: value for key, value in checkpoint.items() if key not in MODEL | _FIT | others | {_PRINTS}}


def tell_module(module: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Calls a module's ``on_load_checkpoint``, as Lightning would, with a checkpoint that is loaded without a Trainer.

    In the place of closed objects it gets those that it would save itself. Where they are not like those that were closed, a
    warning says how to come by these; where it has none, it is not called.
    """
    if not is_overridden("on_load_checkpoint", module):
        return
    if prints := checkpoint.get(_PRINTS):
        asked = {key: value for key, value in checkpoint.items() if key in MODEL}
        asked |= {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
        # It may need a Trainer for that.
        with suppress(Exception):
            module.on_save_checkpoint(asked)
        now = fingerprints({path: each for path, each in _objects(asked).items() if path in prints}, module)
        if other := [path for path, found in prints.items() if now.get(path) != found]:
            warnings.warn(_not_read_back(type(module).__name__, other), stacklevel=3)
        try:
            checkpoint = _replaced(checkpoint, asked)
        except LookupError:
            return
    module.on_load_checkpoint(checkpoint)


def _not_read_back(module: str, paths: list[str]) -> str:
    return (
        f"what {module} has saved as {', '.join(paths)} is not read back, for safety, and differs from what a new one has: "
        f"if you trust the file, {module}.load_from_checkpoint(path, weights_only=False) reads it"
    )


def _replaced(checkpoint: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint with what another has in the place of its closed objects."""
    objects = _objects({key: value for key, value in asked.items() if key not in _FIT})
    closed = {key: value for key, value in checkpoint.items() if key not in _FIT}
    return {**checkpoint, **_changed(closed, lambda value: isinstance(value, Closed), lambda path, _: objects[path])}


def fingerprints(objects: Mapping[str, Any], module: LightningModule) -> dict[str, str]:
    """What tells each object from another. Parts of the module itself count by their place: their state is in its weights."""
    places = {id(part): name for name, part in module.named_modules()}
    return {path: _fingerprint(value, places) for path, value in objects.items()}


def _fingerprint(value: Any, places: Mapping[int, str]) -> str:
    try:
        return _ByPlace(places, fast=True).print_of(value)
    except (ValueError, RecursionError):
        # It holds itself.
        return _ByPlace(places, fast=False).print_of(value)


class _ByPlace(pickle.Pickler):
    """Pickles parts of a module by their names.

    Args:
        places: the names, by the parts' identities.
        fast: write what is there twice twice, so that a copy, in which it may be there once, comes out alike.
    """

    def __init__(self, places: Mapping[int, str], fast: bool) -> None:
        self.file = io.BytesIO()
        super().__init__(self.file, protocol=4)
        self.fast = fast
        self.places = places

    def persistent_id(self, obj: Any) -> str | None:
        return self.places.get(id(obj)) if isinstance(obj, nn.Module) else None

    def print_of(self, value: Any) -> str:
        self.dump(value)
        return hashlib.sha256(self.file.getvalue()).hexdigest()


def _plain(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint without those of its hyperparameters that would not be read back."""
    plain = {
        key: {name: value for name, value in checkpoint[key].items() if is_plain(value)} for key in HPARAMS if key in checkpoint
    }
    return checkpoint | plain


def _whole_hparams(checkpoint: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A checkpoint's hyperparameters, with their objects closed, but for those that cannot be pickled."""
    whole: dict[str, dict[str, Any]] = {}
    for key in filter(checkpoint.__contains__, HPARAMS):
        whole[key] = {}
        for name, value in checkpoint[key].items():
            with suppress(Exception):
                whole[key][name] = _changed(value, _is_object, lambda path, value: Closed(value))
    return whole


def is_plain(value: Any) -> bool:
    """Whether ``torch.load(weights_only=True)`` reads a value back.

    >>> is_plain({"lr": 0.1, "sizes": [1, 2]}), is_plain(nn.ReLU)
    (True, False)
    """
    # Exactly these types: a subclass, such as an enum of strings, is an object to the loader.
    if type(value) is dict:
        return all(is_plain(each) for pair in value.items() for each in pair)
    if type(value) in (list, tuple):
        return all(is_plain(each) for each in value)
    return value is None or type(value) in (bool, int, float, complex, str, bytes, Tensor)


def _objects(values: Any) -> dict[str, Any]:
    """Where objects are among values, and which."""
    found: dict[str, Any] = {}
    _changed(values, _is_object, found.setdefault)
    return found


def _is_object(value: Any) -> bool:
    return first_refused({"": value}) is not None


def _changed(values: Any, kind: Callable[[Any], bool], change: Callable[[str, Any], Any], path: str = "") -> Any:
    """The values with another in the place of each of a kind, by where it is."""
    if type(values) in (dict, OrderedDict):
        return type(values)((key, _changed(each, kind, change, f"{path}.{key}")) for key, each in values.items())
    if type(values) in (list, tuple):
        return type(values)(_changed(each, kind, change, f"{path}[{index}]") for index, each in enumerate(values))
    return change(path.removeprefix("."), values) if kind(values) else values
