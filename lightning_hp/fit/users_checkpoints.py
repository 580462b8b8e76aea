"""The user's own checkpoints of a trial, beside ours: each in a folder of their own."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

# In the folder of the trial's checkpoints.
THEIRS = "model_checkpoint"


class KeepApart(Callback):
    """Gives each ModelCheckpoint that was given no folder one where no file is ours, since both call theirs best and last.

    To stand before them, also before those that the module brings itself.

    Args:
        folder: of the trial's checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(self.folder / THEIRS)
