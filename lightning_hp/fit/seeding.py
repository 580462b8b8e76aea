"""Which seed rules when in a fit: the study's rules data and batch order, the trial's everything else.

A shuffling DataLoader draws its order from torch's global generator, which the model uses as well, so that two trials that
differ in dropout alone would see other batches. Here every loader gets a generator of its own for the time of the fit, seeded
before each epoch by the study's seed and the epoch's number.

The global generators are seeded before each epoch too, by the trial's seed and the epoch's number. So an epoch's random
numbers do not depend on those before it, and a fit that goes on from a checkpoint needs no generator's state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import Sampler

from lightning_hp.fit.rng import rng_states, seed_rngs, seeded_states, set_rng_states
from lightning_hp.seeds import data_seed, epoch_seed, trial_epoch_seed


class Seeding(Callback):
    """Seeds a fit. To stand first among its callbacks, and to be told when the fit begins and ends.

    Args:
        study_seed: decides data and batch order.
        trial_seed: decides all other random numbers.

    Until training starts the global generators belong to the study, since the data are set up in that time (splits, subsets);
    the trial's own are put aside and come back for the model's hooks.
    """

    def __init__(self, study_seed: int, trial_seed: int) -> None:
        self.study_seed = study_seed
        self.trial_seed = trial_seed
        self._trial_states: Any = None
        self._lent: dict[int, _Lent] = {}

    def before_fit(self) -> None:
        """Call right before ``Trainer.fit``: the datamodule's hooks come before any callback's."""
        self._lend()

    def after_fit(self) -> None:
        """Call when the fit is over, however it ended: gives the user's loaders their own generators back."""
        for lent in self._lent.values():
            lent.owner.generator = lent.own
        self._lent.clear()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        set_rng_states(self._trial_states)
        process = trainer.strategy.process_dataloader

        # Lightning makes a loader's first iterator right after this call, before any hook of training; loaders with worker
        # processes draw the first epoch's order there.
        def with_own_generator(dataloader: object) -> object:
            if trainer.fit_loop.restarting:
                # Lightning does so by itself unless max_steps is set: our checkpoints are of whole epochs.
                _Loop.restarting.fset(trainer.fit_loop, False)  # type: ignore[attr-defined]
            # Of a fit that goes on, current_epoch is right only later.
            self._seed([dataloader], trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
            return process(dataloader)

        trainer.strategy.process_dataloader = with_own_generator  # type: ignore[method-assign]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lend()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The sanity check may make the first weights of lazy layers. Lightning takes its random numbers back afterwards.
        if trainer.sanity_checking:
            set_rng_states(self._trial_states)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        set_rng_states(self._trial_states)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seed(_flat(trainer.train_dataloader), trainer.current_epoch, again=_makes_iterators(trainer))
        if trainer.val_dataloaders is not None:
            # The sanity check has drawn from them, but not in a fit that goes on.
            self._seed(_flat(trainer.val_dataloaders), trainer.current_epoch, again=True)
        seed_rngs(trial_epoch_seed(self.trial_seed, trainer.current_epoch))

    def _lend(self) -> None:
        self._trial_states = rng_states()
        set_rng_states(seeded_states(data_seed(self.study_seed)))

    def _seed(self, loaders: list[Any], epoch: int, again: bool = False) -> None:
        for owner in (owner for loader in loaders for owner in _owners(loader)):
            if id(owner) not in self._lent:
                self._lent[id(owner)] = _Lent(owner, owner.generator)
                owner.generator = torch.Generator()
            lent = self._lent[id(owner)]
            # An iterator that exists already, and stays, has drawn the beginning of its epoch.
            if again or lent.epoch != epoch:
                owner.generator.manual_seed(epoch_seed(self.study_seed, epoch))
                lent.epoch = epoch


@dataclass
class _Lent:
    """A loader or sampler that has a generator of ours for the time of the fit, and the one that it had."""

    owner: Any
    own: torch.Generator | None
    epoch: int | None = None


def _makes_iterators(trainer: Trainer) -> bool:
    """Whether Lightning will make new iterators for the epoch that begins. For the first it has them from its setup."""
    loop = trainer.fit_loop
    # Before Lightning 2.6 a fit that went on made them twice.
    return trainer.current_epoch > 0 and not getattr(loop, "is_resuming", False) and not loop.epoch_loop.restarting


def _flat(loaders: Any) -> list[Any]:
    found: list[Any] = CombinedLoader(loaders).flattened
    return found


def _owners(loader: Any) -> Iterator[Any]:
    """A loader and the samplers in it, as far as they draw from a generator."""
    if hasattr(loader, "generator"):
        yield loader
    for name, part in getattr(loader, "__dict__", {}).items():
        if isinstance(part, Sampler) or name.endswith("sampler"):
            yield from _owners(part)
