"""What a fused fit cannot do right: what changes the loop itself or works within a step, and a logger that has room for one."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, callbacks
from lightning.pytorch.loggers import CometLogger, Logger
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_hp.babysit import Babysitter


def unsupported(model: LightningModule, its_callbacks: list[Callback], loggers: list[Logger], data_given: bool) -> str | None:
    """What a fused fit cannot do, of a model, its callbacks and loggers; None if it can all.

    Args:
        model: of a trial.
        its_callbacks: of the trial's Trainer.
        loggers: of the same.
        data_given: whether the fit is given data, so that the model's own loaders are not asked for.
    """
    if not model.automatic_optimization:
        return "manual optimization"
    for hook in _NOT_OF_MODULES if data_given else (*_NOT_OF_MODULES, "train_dataloader", "val_dataloader"):
        if is_overridden(hook, model):
            return f"the module has its own {hook}"
    for callback in its_callbacks:
        if isinstance(callback, _CHANGE_THE_LOOP):
            return f"the callback {type(callback).__name__} changes the loop for all"
        # What ours does there is done for all rows at once.
        for hook in () if type(callback) is Babysitter else _NOT_OF_CALLBACKS:
            if is_overridden(hook, callback):
                return f"the callback {type(callback).__name__} uses {hook}"
    if any(isinstance(logger, CometLogger) for logger in loggers):
        return "Comet ends a process's experiment where the next begins"
    return None


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
