"""Feeds a fused fit: its batches are taken at once where they can be, and from the device where there is room."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_hp.fit.fused.batches import taken_at_once
from lightning_hp.fit.fused.resident import Resident


class Feed(Callback):
    """Puts loaders that take their batches at once in the place of those that the fit is given.

    To stand right after the seeding, which seeds what is put there.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        resident = resident_for(trainer)
        process = trainer.strategy.process_dataloader

        # The loaders of all sources pass here, one by one, once Lightning has made of them what it wants.
        def at_once(dataloader: object) -> object:
            return process(taken_at_once(dataloader, resident))

        trainer.strategy.process_dataloader = at_once  # type: ignore[method-assign]
        for loop, mode in ((trainer.fit_loop, "max_size_cycle"), (trainer.fit_loop.epoch_loop.val_loop, "sequential")):
            source = loop._data_source
            source.dataloader = partial(_asked, source.dataloader, mode, resident)  # type: ignore[method-assign]


def resident_for(trainer: Trainer) -> Resident | None:
    """Where a fit's small data sets may stay on its device; None if its batches have to come from the host."""
    if trainer.strategy.root_device.type != "cuda":
        return None
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    # A module that has these does not train as one with others.
    if datamodule is not None and any(is_overridden(hook, datamodule) for hook in _SEE_THE_HOST):
        return None
    return Resident(trainer.strategy.root_device)


def loading_seconds(trainer: Trainer) -> float:
    """What a fit that has this feed has waited for its last training batch, where no other process loads meanwhile."""
    loader = trainer.fit_loop._combined_loader
    if not isinstance(loader, _ForTraining) or any(getattr(each, "num_workers", 0) for each in loader.flattened):
        return 0.0
    return loader.seconds


_SEE_THE_HOST = ("on_before_batch_transfer", "transfer_batch_to_device")


def _asked(ask: Callable[[], Any], mode: Any, resident: Resident | None) -> Any:
    """What a source gives, in a combination of our own: Lightning puts loaders of ours into it."""
    loaders = ask()
    if type(loaders) is CombinedLoader:
        loaders, mode = loaders.iterables, loaders._mode
    elif isinstance(loaders, CombinedLoader):
        return loaders
    made = _ForTraining(loaders, mode)
    made.resident = resident
    return made


class _ForTraining(CombinedLoader):
    """The loaders as Lightning itself goes through them: hooks that do so too expect batches on the host."""

    resident: Resident | None
    # What it took to load the last batch.
    seconds = 0.0

    def __next__(self) -> Any:
        began = time.perf_counter()
        if self.resident is not None:
            self.resident.wanted = True
        try:
            return super().__next__()
        finally:
            self.seconds = time.perf_counter() - began
            if self.resident is not None:
                self.resident.wanted = False
