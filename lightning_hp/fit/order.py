"""The batch order of a search: the same for all its trials, whatever their models do with the random numbers.

A shuffling DataLoader draws its order from torch's global generator, which the model uses as well, so that two trials that
differ in dropout alone would see other batches. Here the samplers get a generator of their own, seeded before each epoch
by the study's seed and the epoch's number; a resumed fit finds the order of its epoch the same way.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader

from lightning_hp.fit.rng import rng_states, seeded_states, set_rng_states
from lightning_hp.seeds import data_seed, epoch_seed


class SharedOrder(Callback):
    """Gives data and batch order to the study's seed, and everything else in the fit to the trial's.

    Args:
        seed: the study's.

    Until training starts the global generators belong to the study, for the data are set up in that time (splits, and the
    loaders' first iterators); the trial's own are put aside by `before_fit` and come back for the model's hooks.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._trial_states: Any = None

    def before_fit(self) -> None:
        """Call right before ``Trainer.fit``: the datamodule's hooks come before any callback's."""
        self._lend()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        set_rng_states(self._trial_states)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning makes the first epoch's iterator after this hook, and multi-worker loaders draw their order there.
        self._lend()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        set_rng_states(self._trial_states)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed = epoch_seed(self.seed, trainer.current_epoch)
        for loader in CombinedLoader(trainer.train_dataloader).flattened:
            for owner in _shufflers(loader):
                if owner.generator is None:
                    owner.generator = torch.Generator()
                owner.generator.manual_seed(seed)

    def _lend(self) -> None:
        self._trial_states = rng_states()
        set_rng_states(seeded_states(data_seed(self.seed)))


def _shufflers(loader: Any) -> list[Any]:
    batch_sampler = getattr(loader, "batch_sampler", None)
    owners = [loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)]
    return [owner for owner in owners if hasattr(owner, "generator")]
