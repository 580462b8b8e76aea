"""What a fused fit cannot do right: what changes the loop itself or works within a step, and a logger that has room for one."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule, Trainer, callbacks
from lightning.pytorch.loggers import CometLogger
from lightning.pytorch.plugins import DoublePrecision, MixedPrecision, Precision
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn
from torch._dynamo import OptimizedModule

from lightning_hp.babysit import Babysitter


def unsupported(trainer: Trainer, data_given: bool) -> str | None:
    """What a fused fit cannot do, of what a trial's Trainer is given; None if it can all.

    Args:
        trainer: the trial's, which has its model.
        data_given: whether the fit is given data, so that the model's own loaders are not asked for.
    """
    reason = _of_numbers(trainer) or _of_model(trainer.lightning_module, data_given)
    if reason is not None:
        return reason
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, callbacks.Timer) and callback._duration is not None:
            return "max_time is each trial's own, and trials that train as one would share it"
        if isinstance(callback, _CHANGE_THE_LOOP):
            return f"the callback {type(callback).__name__} changes the loop for all"
        # What ours does there is done for all rows at once.
        for hook in () if type(callback) is Babysitter else _NOT_OF_CALLBACKS:
            if is_overridden(hook, callback):
                return f"the callback {type(callback).__name__} uses {hook}"
    if any(isinstance(logger, CometLogger) for logger in trainer.loggers):
        return "Comet ends a process's experiment where the next begins"
    return None


def _of_numbers(trainer: Trainer) -> str | None:
    """Of where a trial trains, and in which numbers."""
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        return f"the strategy {type(trainer.strategy).__name__} takes one model"
    precision = trainer.precision_plugin
    if type(precision) is not Precision and not isinstance(precision, (DoublePrecision, MixedPrecision)):
        # Its rounding would hide a difference.
        return f"in precision {precision.precision} it cannot be seen whether a fused step does what the ordinary ones do"
    return None


def _of_model(model: LightningModule, data_given: bool) -> str | None:
    if not model.automatic_optimization:
        return "manual optimization"
    for hook in _NOT_OF_MODULES if data_given else (*_NOT_OF_MODULES, "train_dataloader", "val_dataloader"):
        if is_overridden(hook, model):
            return f"the module has its own {hook}"
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            return f"{name} is compiled by torch.jit"
        if _compiled(part):
            return f"{name or 'the module'} is compiled by torch.compile"
    return None


def _compiled(part: nn.Module) -> bool:
    """Whether it was made by torch.compile, is a LightningModule out of one such, or was compiled in its place."""
    in_place = vars(part).get("_compiled_call_impl") or vars(part).get("_compiler_ctx")
    return isinstance(part, OptimizedModule) or in_place is not None


_CHANGE_THE_LOOP = (
    callbacks.BatchSizeFinder,
    callbacks.GradientAccumulationScheduler,
    callbacks.LearningRateFinder,
    callbacks.ModelPruning,
    callbacks.StochasticWeightAveraging,
)
_NOT_OF_CALLBACKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
_NOT_OF_MODULES = (
    *_NOT_OF_CALLBACKS,
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "configure_gradient_clipping",
    "transfer_batch_to_device",
    "on_before_batch_transfer",
    "on_after_batch_transfer",
    "on_validation_model_eval",
    "on_validation_model_train",
    "on_validation_model_zero_grad",
)
