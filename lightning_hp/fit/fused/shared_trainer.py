"""What a step sees of the Trainer: what is the same for all trials."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import Strategy

from lightning_hp.fit.fused.errors import CannotFuseError


class SharedTrainer:
    """What a step may see of the Trainer: what is the same for all trials.

    Attributes:
        read: the names of what has been read.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in _OF_ONE_TRIAL:
            raise CannotFuseError(f"the step reads trainer.{name}")
        if name == "strategy":
            return _SharedStrategy(self._trainer.strategy)
        self.read.add(name)
        return getattr(self._trainer, name)


_OF_ONE_TRIAL = frozenset(
    {
        *("optimizers", "lr_scheduler_configs", "lightning_module", "model", "callbacks", "should_stop"),
        *("precision_plugin", "scaler"),
        *("logger", "loggers", "log_dir", "callback_metrics", "logged_metrics", "progress_bar_metrics"),
    }
)


class _SharedStrategy:
    """What a step may see of the strategy: of which class it is, and where."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._strategy)

    def __getattr__(self, name: str) -> Any:
        if name not in ("root_device", "global_rank", "local_rank", "node_rank", "world_size", "is_global_zero"):
            raise CannotFuseError(f"the step reads trainer.strategy.{name}")
        return getattr(self._strategy, name)
