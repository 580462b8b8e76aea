"""Calling the hooks of one trial's callbacks and model as Lightning does, but for those that do nothing.

Most do nothing, and to call them all takes longer than the rest of an epoch of a small model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.utilities.device_dtype_mixin import _DeviceDtypeModuleMixin
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.trainer import call


def own_hook(owner: Callback | LightningModule, name: str) -> Callable[..., Any] | None:
    """A hook of a callback or a model; None if it has none of that name, or Lightning's, which does nothing."""
    default = getattr(LightningModule if isinstance(owner, LightningModule) else Callback, name, None)
    # To ask the class is several times as fast, and of most that says it all.
    if name not in vars(owner) and getattr(type(owner), name, None) is default:
        return None
    hook = getattr(owner, name)
    return hook if callable(hook) else None


def call_callbacks(trainer: Trainer, name: str, monitoring: bool | None = None) -> None:
    """Calls a hook of the callbacks.

    Args:
        trainer: the trial's.
        name: of the hook.
        monitoring: only of those that look at metrics, or only of the others; None for all.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if monitoring is not None:
        callbacks = [each for each in callbacks if isinstance(each, (EarlyStopping, Checkpoint)) is monitoring]
    model = trainer.lightning_module
    with _logging_in(model, name):
        for callback in callbacks:
            hook = own_hook(callback, name)
            if hook is not None:
                hook(trainer, model)


def call_model(trainer: Trainer, name: str) -> None:
    """Calls a hook of the model."""
    model = trainer.lightning_module
    hook = own_hook(model, name)
    if hook is not None:
        with _logging_in(model, name):
            hook()


def call_setup(trainer: Trainer) -> None:
    """Calls ``setup`` of callbacks and model as Lightning does, but has no logger begin a run."""
    for module in trainer.lightning_module.modules():
        if isinstance(module, _DeviceDtypeModuleMixin):
            module._device = trainer.strategy.root_device
    call._call_callback_hooks(trainer, "setup", stage=trainer.state.fn)
    call._call_lightning_module_hook(trainer, "setup", stage=trainer.state.fn)


@contextmanager
def _logging_in(model: LightningModule, name: str) -> Iterator[None]:
    """Tells the model's ``log`` by which hook it is called."""
    # nn.Module's own way to set an attribute looks for parameters and parts of the name.
    attributes = vars(model)
    before = attributes["_current_fx_name"]
    attributes["_current_fx_name"] = name
    try:
        yield
    finally:
        attributes["_current_fx_name"] = before
