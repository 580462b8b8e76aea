"""The hooks of one trial's callbacks and model, called as Lightning does, but for those that do nothing.

Most do nothing, and to call them all takes longer than the rest of an epoch of a small model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.utilities.device_dtype_mixin import _DeviceDtypeModuleMixin
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, LearningRateMonitor
from lightning.pytorch.core.hooks import ModelHooks
from lightning.pytorch.trainer import call

from lightning_hp.babysit import Babysitter
from lightning_hp.fit.frozen import Frozen
from lightning_hp.fit.pruned import Pruned
from lightning_hp.fit.reporter import Reporter

BATCH_HOOKS = ("on_train_batch_start", "on_train_batch_end", "on_validation_batch_start", "on_validation_batch_end")
# What has hooks in every trial, and changes no model in them.
OURS = (Babysitter, Frozen, LearningRateMonitor, Pruned, Reporter)


def own_hook(owner: Callback | LightningModule, name: str) -> Callable[..., Any] | None:
    """A hook of a callback or a model; None if it has none of that name, or Lightning's, which does nothing."""
    default = getattr(LightningModule if isinstance(owner, LightningModule) else Callback, name, None)
    # To ask the class is several times as fast, and of most that says it all.
    if name not in vars(owner) and getattr(type(owner), name, None) is default:
        return None
    hook = getattr(owner, name)
    return hook if callable(hook) else None


def runs_users(trainer: Trainer, hooks: Iterable[str]) -> bool:
    """Whether code of the user's runs in any of these hooks of a trial."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    others = [callback for callback in callbacks if type(callback) not in (*OURS, EarlyStopping)]
    theirs: list[Callback | LightningModule] = [trainer.lightning_module, *others]
    return any(own_hook(each, hook) for hook in hooks for each in theirs)


def runs_users_between_steps(trainer: Trainer) -> bool:
    """Whether code of the user's runs between the epochs' steps of a trial, which may change its model."""
    return runs_users(trainer, [name for name in (*vars(ModelHooks), *vars(Callback)) if name.startswith("on_")])


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
